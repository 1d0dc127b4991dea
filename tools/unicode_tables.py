#!/usr/bin/env python3
"""What src/model/unicode.cc knows of characters, from Python's copy of the Unicode Character Database.

    python3.12 tools/unicode_tables.py | clang-format-19 > src/model/unicode_tables.inc

llama.cpp, whose ids ours are compared with, has Unicode 15, as has Python 3.12.
"""
import sys
import unicodedata

SURROGATES, HANGUL = range(0xD800, 0xE000), range(0xAC00, 0xD7A4)  # the latter decompose by a formula
CODES = [code for code in range(0x110000) if code not in SURROGATES]


def ranges(codes):
    """[first, last] of the runs of neighbors."""
    found = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def print_ranges(name, what, accepts):
    print(f"// {what}.")
    print(f"constexpr auto {name} = std::to_array<CodeRange>({{")
    print(", ".join(f"{{0x{first:x}, 0x{last:x}}}" for first, last in ranges(filter(accepts, CODES))))
    print("});\n")


def print_categories(name, what, *categories):
    print_ranges(name, what, lambda code: unicodedata.category(chr(code)) in categories)


def cases():
    """[first, last, step, delta] where every step-th character becomes another by the same difference."""
    found = []
    for code in CODES:
        delta = ord(chr(code).lower()[0]) - code
        if delta == 0:
            continue
        step = code - found[-1][1] if found else 0
        if found and found[-1][3] == delta and (step == found[-1][2] or (step <= 2 and found[-1][2] == 0)):
            found[-1][1:3] = [code, step]
        else:
            found.append([code, code, 0, delta])
    return [[first, last, step or 1, delta] for first, last, step, delta in found]


def literal(characters):
    """A UTF-32 literal; escapes where an editor might change or join what it shows."""
    def one(character):
        code = ord(character)
        plain = code > 0x20 and unicodedata.category(character)[0] == "L" and not unicodedata.combining(character)
        return character if plain else f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}" if code >= 0xA0 \
            else "\\" + character if character in "\"\\" else character
    return 'U"' + "".join(map(one, characters)) + '"'


def main():
    whole = {code: unicodedata.normalize("NFD", chr(code)) for code in CODES if code not in HANGUL}
    changed = {code: text for code, text in whole.items() if text != chr(code)}
    print("// Unicode", unicodedata.unidata_version, "(tools/unicode_tables.py writes this file).\n")
    print_categories("kPunctuation", "General category P", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po")
    print_categories("kControls", "General categories Cc, Cf and Co", "Cc", "Cf", "Co")
    print_categories("kNonspacingMarks", "General category Mn", "Mn")
    print_categories("kOtherMarks", "General categories Mc and Me", "Mc", "Me")
    print("// Characters whose lower case is another one.")
    print("constexpr auto kLowerCases = std::to_array<CaseRange>({")
    print(", ".join(f"{{0x{first:x}, 0x{last:x}, {step}, {delta}}}" for first, last, step, delta in cases()))
    print("});\n")
    print("// What the canonical decompositions of neighbors begin with, Hangul left out.")
    print("constexpr auto kHeads = std::to_array<Decompositions>({")
    print(",\n".join(f"{{0x{first:x}, {literal(changed[code][0] for code in range(first, last + 1))}}}"
                     for first, last in ranges(changed)))
    print("});\n")
    print("// What follows there and is no nonspacing mark.")
    print("constexpr auto kTails = std::to_array<Decompositions>({")
    tails = {code: [c for c in text[1:] if unicodedata.category(c) != "Mn"] for code, text in changed.items()}
    print(",\n".join(f"{{0x{code:x}, {literal(tail)}}}" for code, tail in tails.items() if tail))
    print("});")


if __name__ == "__main__":
    sys.exit(main())
