"""The templates of HTML pages, which lie beside this file."""

import jinja2

from etchline.evaluation.words import count, interval, percent, points, points_interval, share


def load_template(name: str) -> jinja2.Template:
    """A template in which all text is escaped and an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("etchline.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (percent, interval, count, share, points, points_interval)
    environment.filters |= {each.__name__: each for each in filters}
    return environment.get_template(name)
