#!/usr/bin/python3
"""Writes models/NOTICE: who wrote, translated and published the children's stories that exo-tiny learned from.

    /usr/bin/python3 tools/train/notice.py --data ../shared/data > models/NOTICE
"""
import argparse
import json
import lzma
import os

HEAD = """\
exo-tiny was trained, among other texts, on the picture-book stories below (CC BY or public domain).  None of
their text is in this repository.  CC BY: https://creativecommons.org/licenses/by/4.0/ (some are 3.0).  The texts
were changed for training: ASCII punctuation, paragraphs joined, cut into pieces of at most 480 tokens.

Also used, without text in this repository: TinyStories (Ronen Eldan, Yuanzhi Li; CDLA-Sharing-1.0), Topical-Chat
(Amazon.com, Inc.; CDLA-Sharing-1.0), chatterbot-corpus (Gunther Cox and contributors; BSD-3-Clause), instruction
data of LLMs-from-scratch (Sebastian Raschka; Apache-2.0), fairy tales of Grimm, Andersen and Collodi (Project
Gutenberg; public domain).

title | author | translator | licence | source
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.path.join(os.environ.get("EXO_SHARED", "../shared"), "data"))
    args = parser.parse_args()
    with lzma.open(f"{args.data}/text/childrens-stories/stories-en.jsonl.xz", "rt", encoding="utf-8", newline="\n") as f:
        rows = [json.loads(line) for line in f.read().split("\n") if line]
    lines = sorted({" | ".join(" ".join(r[k].split()) or "-" for k in ("title", "by", "translation", "licence", "source"))
                    for r in rows if r["licence"] in ("CC-BY", "Public Domain")})
    print(HEAD + "\n".join(lines))


if __name__ == "__main__":
    main()
