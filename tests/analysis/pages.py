"""Parses a report's page, and renders reports without drawing figures."""

import html.parser

from mtk.analysis.reporting.contents import RenderedFigure


def composed(name, entry, drawn, narrow=None):
    """Replaces `contents.render`, which takes most of the time of a report."""
    assert drawn.axes
    return RenderedFigure(name, entry.title, entry.caption, b"", "")


class Page(html.parser.HTMLParser):
    """The words, images, headings and links of a page."""

    def __init__(self, path):
        super().__init__()
        self.words, self.addresses, self.images, self.headings = "", [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        self.addresses += [v for k, v in attributes if k in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.words += data
