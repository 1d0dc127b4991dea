#!/usr/bin/env python3
"""Dead links of the documents: tools/check_links.py [SITE]

Without SITE: every relative link in the tracked .md files leads to a file of the tree and, behind #, to a heading of it (as
GitHub names them). With SITE, a folder of HTML (make docs): the same of its pages, and nothing is loaded from elsewhere.
Prints "file:line: what"; exit 1 when there is any.
"""
import html.parser
import pathlib
import re
import subprocess
import sys
import urllib.parse

findings = []


def slug(heading):
    """The anchor of a heading: markup gone, words joined by hyphens."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def prose(text):
    """(number, line) without code: fenced, indented behind an empty line, or between backticks."""
    fenced, previous = False, ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not (line.startswith("    ") and (previous == "" or previous.startswith("    "))):
            yield number, re.sub(r"`[^`]*`", lambda code: " " * len(code[0]), line)
        previous = line if not fenced else previous


def anchors(path):
    found, text = set(), path.read_text(encoding="utf-8")
    for number, _ in prose(text):
        line = text.split("\n")[number - 1]
        if heading := re.match(r"#{1,6} (.+)", line):
            name, count = slug(heading[1]), 1
            while name in found:
                name, count = f"{slug(heading[1])}-{count}", count + 1
            found.add(name)
        found.update(re.findall(r'<a (?:id|name)="([^"]+)"', line))
    return found


def check_documents():
    tracked = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
                             capture_output=True, text=True, check=True).stdout.split("\n")
    known = {}
    for name in filter(None, tracked):
        file = pathlib.Path(name)
        if not file.exists():
            continue
        text = file.read_text(encoding="utf-8")
        # A link may be broken over two lines; its place is that of its beginning.
        lines = dict(prose(text))
        joined = "\n".join(lines.get(number, "") for number in range(1, text.count("\n") + 2))
        for link in re.finditer(r"\]\(([^)\s]+)\)", joined):
            target, _, anchor = link[1].partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            place = f"{name}:{joined.count(chr(10), 0, link.start()) + 1}"
            path = (file.parent / urllib.parse.unquote(target)).resolve() if target else file.resolve()
            if not path.exists():
                findings.append(f"{place}: there is no {target}")
            elif anchor and path.suffix == ".md" and anchor not in known.setdefault(path, anchors(path)):
                findings.append(f"{place}: {target or name} has no heading #{anchor}")


class Page(html.parser.HTMLParser):
    """Links, anchors and what a page loads."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.loads = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors.update(filter(None, [values.get("id"), values.get("name") if tag == "a" else None]))
        if tag == "a" and values.get("href"):
            self.links.append((self.getpos()[0], values["href"]))
        elif values.get("src") or (tag == "link" and values.get("href")):
            self.loads.append((self.getpos()[0], values.get("src") or values["href"]))


def check_site(site):
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        findings.append(f"{site}: there are no pages")
    for path, page in pages.items():
        for line, link in page.links + page.loads:
            parts = urllib.parse.urlsplit(link)
            place = f"{path}:{line}"
            if parts.scheme or parts.netloc:
                if (line, link) in page.loads and parts.scheme != "data":
                    findings.append(f"{place}: loads {link}, which is not part of the site")
                continue
            name = urllib.parse.unquote(parts.path)
            target = path if not name else site / name.lstrip("/") if name.startswith("/") else path.parent / name
            target = (target / "index.html" if target.is_dir() else target).resolve()
            if not target.exists():
                findings.append(f"{place}: there is no {link}")
            elif parts.fragment and target.suffix == ".html" and \
                    urllib.parse.unquote(parts.fragment) not in pages[target].anchors:
                findings.append(f"{place}: {link} has no such anchor")


def main():
    if len(sys.argv) > 1:
        check_site(pathlib.Path(sys.argv[1]).resolve())
    else:
        check_documents()
    print("\n".join(findings), end="\n" if findings else "")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
