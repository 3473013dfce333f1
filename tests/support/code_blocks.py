"""The blocks of code in Markdown and reStructuredText."""

import re
import shlex
import textwrap
from dataclasses import dataclass

_COMMANDS = ("make ", "python ", ".venv/bin/python ")
"""How a literal block starts that has commands; any other is a picture."""
_ENDS = {"|", "||", "&", "&&", ";"}


@dataclass(frozen=True)
class CodeBlock:
    """A block, and where it is.

    :param language: as the page names it; ``shell`` or ``text`` for one that has no name.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"

    def shell(self):
        """Return what is to be typed: a console's prompts and what it prints are left out."""
        if self.language != "console":
            return self.text
        joined = re.sub(r"\\\n\s*", " ", self.text)
        return "\n".join(line[2:] for line in joined.splitlines() if line.startswith("$ "))

    def commands(self):
        """Return the words of each command of a shell, without assignments before it."""
        found = [[]]
        for words in _lines(self.shell()):
            for word in [*words, ";"]:
                if word in _ENDS:
                    found.append([])
                elif found[-1] or not re.match(r"[A-Z_]+=", word):
                    found[-1].append(word)
        return [words for words in found if words]


def _lines(text):
    """Yield the words of each line; a quote, a backslash or a pipe at the end continues it."""
    pending = ""
    for line in text.splitlines():
        pending += line
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        try:
            lexer = shlex.shlex(pending, posix=True, punctuation_chars="|&;")
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:
            pending += "\n"
            continue
        pending = ""
        yield words
    if pending:  # a quote without an end, which bash will name
        yield pending.split()


def code_blocks(page):
    """Return the blocks of a page, by its suffix."""
    text = page.read_text(encoding="utf-8")
    return list(_of_markdown(page.name, text) if page.suffix == ".md" else _of_rst(page.name, text))


def _of_markdown(page, text):
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield CodeBlock(page, text.count("\n", 0, found.start()) + 1, found[1] or "text", found[2])


def _of_rst(page, text):
    lines = text.splitlines()
    for number, line in enumerate(lines):
        named = re.fullmatch(r"\s*\.\. (?:code-block|code|sourcecode)::\s*(\S*)", line)
        if not named and (not line.endswith("::") or line.lstrip().startswith("..")):
            continue
        body = textwrap.dedent("\n".join(_indented(lines[number + 1 :], len(line) - len(line.lstrip()))))
        body = body.strip("\n") + "\n"
        language = named[1] if named else ("shell" if body.startswith(_COMMANDS) else "text")
        yield CodeBlock(page, number + 1, language or "text", body)


def _indented(lines, indent):
    """Yield the lines until one that is indented no further than the line before the block."""
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            return
        yield line
