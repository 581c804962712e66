"""The gate between an evaluated model and its deployment."""

from etchline.evaluation.gate.judging import judge
from etchline.evaluation.gate.limits import GateLimits
from etchline.evaluation.gate.page import render_gate, write_gate
from etchline.evaluation.gate.verdict import Check, GateVerdict
from etchline.evaluation.report_reading import ReportFile, parse_report, read_report

__all__ = [
    "Check",
    "GateLimits",
    "GateVerdict",
    "ReportFile",
    "judge",
    "parse_report",
    "read_report",
    "render_gate",
    "write_gate",
]
