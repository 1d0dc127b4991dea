#!/usr/bin/env python3
"""What a formatter does not say: line lengths, function lengths, OS headers, file names in prose.

Prints one line per finding, "file:line: what"; exit 1 when there is any. Reads tracked files only.
"""
import pathlib
import re
import subprocess
import sys

COLUMNS = 100
FUNCTION_LINES = 60
OS_HEADERS = re.compile(
    r"#include <(sys/.*|unistd|poll|fcntl|signal|termios|dirent|netdb|ifaddrs|pthread|sched|dlfcn"
    r"|netinet/.*|arpa/.*|net/.*|linux/.*|pwd|grp)(\.h)?>")
# Kernels ask the processor what it can do, and libcurl shows its caller the addresses of sockets, as nothing else may.
OS_ALLOWED = ("src/sys/", "src/net/", "src/kernels/arm/find_kernels.cc", "src/fetch/web.cc")
findings = []


def report(file, line, what):
    findings.append(f"{file}:{line}: {what}")


def check_columns(file, lines):
    if file.endswith(".py"):
        return  # no formatter breaks those for us
    in_code = False
    for number, line in enumerate(lines, 1):
        if file.endswith(".md"):
            if line.lstrip().startswith("```"):
                in_code = not in_code
            if in_code or line.startswith(("|", "    ")) or re.fullmatch(r"[-*\s]*\S+", line):
                continue  # code, tables, and words that cannot be broken
        if len(line) > COLUMNS:
            report(file, number, f"{len(line)} columns, the limit is {COLUMNS}")


def check_function_lengths(file, lines):
    """A function begins at the line that ends in "{" at namespace or class level, as clang-format
    writes it, and ends at the "}" of the same indentation."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None:
            head = re.match(r"^(  |    )?[\w][\w:<>~&*\[\]\"', ()=+!-]*\)[^;]*\{$", line)
            words = line.split()
            if head and words and words[0] not in (
                    "if", "for", "while", "switch", "}", "namespace", "else", "do", "return"):
                start, indent = number, len(line) - len(line.lstrip())
        elif line.startswith(" " * indent + "}") and not line[indent + 1:].strip(";,) "):
            if number - start + 1 > FUNCTION_LINES:
                report(file, start, f"a function of {number - start + 1} lines, the limit is "
                                    f"{FUNCTION_LINES}")
            start = None


def check_os_headers(file, lines):
    if file.startswith(OS_ALLOWED) or not file.startswith("src/"):
        return
    if file.endswith("_test.cc") or "/test_" in file:
        return
    for number, line in enumerate(lines, 1):
        if OS_HEADERS.match(line):
            report(file, number, "headers of the operating system belong in src/sys and src/net")


def check_mutexes(file, lines):
    if not file.startswith("src/") or file == "src/base/mutex.h":
        return
    for number, line in enumerate(lines, 1):
        if re.search(r"std::(recursive_|shared_)?mutex\b|std::condition_variable", line):
            report(file, number, "use base/mutex.h: clang sees no lock in std::mutex")


def check_names_in_prose(file, lines, known):
    """In comments and documents, a path with a folder that ends like a source file must exist."""
    for number, line in enumerate(lines, 1):
        prose = line if file.endswith(".md") else line.partition("//")[2]
        for name in re.findall(r"(?<![\w./-])([a-z_0-9]+(?:/[\w.-]+)+\.(?:h|cc|md|py|fbs|inc))\b", prose):
            parts = name.split("/")
            if parts[0] in ("src", "docs", "tests", "tools", "fuzz", "bench", "models", "cmake"):
                found = name in known
            elif (pathlib.Path("src") / parts[0]).is_dir():
                found = f"src/{name}" in known
            else:
                continue  # a file of somebody else
            if not found:
                report(file, number, f"there is no {name}")


# What comes along with a precompiled header only by chance, by the header it is in.
ALGORITHMS = re.compile(
    r"\bstd::(?:ranges::(?:all_of|any_of|none_of|find|find_if|find_if_not|find_last|count|count_if|copy"
    r"|copy_n|copy_if|fill|transform|sort|stable_sort|partial_sort|nth_element|reverse|rotate|unique"
    r"|remove|remove_if|min|max|min_element|max_element|minmax_element|equal|contains|for_each|search"
    r"|lower_bound|upper_bound|binary_search|equal_range|is_sorted|adjacent_find|mismatch|replace"
    r"|starts_with|ends_with|shuffle|merge|generate|includes|set_difference|set_intersection)"
    r"|sort|stable_sort|nth_element|any_of|all_of|none_of|find_if|count_if|lower_bound|upper_bound"
    r"|min_element|max_element|clamp|rotate|unique|reverse)\(")
BY_CHANCE = {"<algorithm>": ALGORITHMS, "<fmt/ranges.h>": re.compile(r"\bfmt::join\(")}


def check_includes_by_chance(file, lines, known):
    own = re.sub(r"(_test)?\.cc$", ".h", file)
    headers = pathlib.Path(own).read_text(encoding="utf-8") if file.endswith(".cc") and own in known else ""
    for header, names in BY_CHANCE.items():
        if f"#include {header}" in headers or f"#include {header}" in lines:
            continue
        for number, line in enumerate(lines, 1):
            if used := names.search(line.partition("//")[0]):
                report(file, number, f"{used[0][:-1]} needs #include {header}")
                break


def names_of_file(lines):
    """What a file defines for itself alone: (namespace, name, types of the parameters)."""
    namespace, hidden = "", False
    for number, line in enumerate(lines, 1):
        opened = re.match(r"namespace (\w[\w:]*)? ?\{$", line)
        if opened:
            namespace, hidden = opened[1] or namespace, not opened[1]
        elif line.startswith("}  // namespace"):
            hidden = False
        kept = re.match(r"(?:constexpr|const|class|struct|enum class) (?:[\w:<>*]+ )*?(\w+)"
                        r"(?: final)?(?: = |\[| \{| : |\{)",
                        line)
        function = re.match(r"(?!return|using|struct|class|enum|namespace)\w[\w:<>*&, ]+?[ *&](\w+)\((.*)$", line)
        if hidden and kept:
            yield number, (namespace, kept[1], "")
        elif (hidden or line.startswith("static ")) and function:
            head = function[2]
            for more in lines[number:number + 8]:
                if head.endswith(("{", ";")):
                    break
                head += more.strip()
            if head.endswith("{"):
                inside = head.rpartition(")")[0]
                types = [re.sub(r"( = .*|\b\w+)$", "", part.strip()) for part in inside.split(",")]
                yield number, (namespace, function[1], ",".join(types))


def check_united_names(known):
    """Check builds include several files of a folder in one (EXO_UNITY of cmake/exo.cmake): there
    a name that two files have for themselves collides."""
    for folder in ("model", "cluster", "net", "store", "node", "service", "app"):
        seen = {}
        for file in sorted(known):
            if not re.match(rf"src/{folder}/.*(?<!_test)\.cc$", file) or "/architectures/" in file:
                continue
            for number, name in names_of_file(pathlib.Path(file).read_text(encoding="utf-8").split("\n")):
                if seen.setdefault(name, file) != file:
                    report(file, number, f"'{name[1]}' is in {seen[name]} as well: check builds join "
                                         "such files, so share it or call it something else")


def main():
    tracked = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                             capture_output=True, text=True, check=True).stdout.split("\n")
    known = {name for name in tracked if name and pathlib.Path(name).exists()}
    for file in sorted(known):
        if not file.endswith((".h", ".cc", ".inc", ".md", ".py", ".fbs")):
            continue
        lines = pathlib.Path(file).read_text(encoding="utf-8").split("\n")
        check_columns(file, lines)
        check_names_in_prose(file, lines, known)
        if file.endswith((".h", ".cc", ".inc")):
            check_function_lengths(file, lines)
            check_os_headers(file, lines)
            check_mutexes(file, lines)
            check_includes_by_chance(file, lines, known)
    check_united_names(known)
    print("\n".join(findings) if findings else "", end="\n" if findings else "")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
