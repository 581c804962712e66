import signal

import pytest

from etchline.cli import app


def test_sigterm_interrupts_like_ctrl_c(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(app, "app", lambda: signal.raise_signal(signal.SIGTERM))
    try:
        with pytest.raises(KeyboardInterrupt):
            app.main()
    finally:
        signal.signal(signal.SIGTERM, before)
