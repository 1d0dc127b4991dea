#include "model/unicode.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

namespace exo::model {
namespace {

struct CodeRange {
  char32_t first, last;
};
// Every step-th character from the first to the last.
struct CaseRange {
  char32_t first, last, step;
  int32_t delta;
};
// For neighbors from `first` on, one character each; in kTails several for one.
struct Decompositions {
  char32_t first;
  std::u32string_view text;
};

#include "model/unicode_tables.inc"

// The last entry that begins at or before `code`; null: none does.
template <class Entry>
const Entry* EntryFor(std::span<const Entry> table, char32_t code) {
  const auto after = std::ranges::upper_bound(table, code, {}, &Entry::first);
  return after == table.begin() ? nullptr : &*std::prev(after);
}

bool Contains(std::span<const CodeRange> table, char32_t code) {
  const CodeRange* range = EntryFor(table, code);
  return range != nullptr && code <= range->last;
}

constexpr char32_t kFirstSyllable = 0xac00, kLastSyllable = 0xd7a3;
constexpr char32_t kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11a7;  // no trail has number 0
constexpr char32_t kVowelCount = 21, kTrailCount = 28;

bool IsSyllable(char32_t code) {
  return code >= kFirstSyllable && code <= kLastSyllable;
}

}  // namespace

bool IsWhiteSpace(char32_t code) {
  return (code >= 0x09 && code <= 0x0d) || code == 0x20 || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
         code == 0x202f || code == 0x205f || code == 0x3000;
}

bool IsPunctuation(char32_t code) {
  return Contains(kPunctuation, code);
}

bool IsControlCode(char32_t code) {
  return Contains(kControls, code);
}

bool IsNonspacingMark(char32_t code) {
  return Contains(kNonspacingMarks, code);
}

bool IsMark(char32_t code) {
  return IsNonspacingMark(code) || Contains(kOtherMarks, code);
}

char32_t LowerCase(char32_t code) {
  const CaseRange* range = EntryFor<CaseRange>(kLowerCases, code);
  if (range == nullptr || code > range->last || (code - range->first) % range->step != 0)
    return code;
  return static_cast<char32_t>(static_cast<int32_t>(code) + range->delta);
}

char32_t DecompositionHead(char32_t code) {
  if (IsSyllable(code)) return kLeads + (code - kFirstSyllable) / (kVowelCount * kTrailCount);
  const Decompositions* heads = EntryFor<Decompositions>(kHeads, code);
  if (heads == nullptr || code - heads->first >= heads->text.size()) return code;
  return heads->text[code - heads->first];
}

void AppendWithoutAccents(char32_t code, std::u32string& out) {
  const char32_t head = DecompositionHead(code);
  if (!IsNonspacingMark(head)) out += head;
  if (IsSyllable(code)) {
    const char32_t index = code - kFirstSyllable;
    out += kVowels + index / kTrailCount % kVowelCount;
    if (index % kTrailCount != 0) out += kTrails + index % kTrailCount;
    return;
  }
  const Decompositions* tail = EntryFor<Decompositions>(kTails, code);
  if (tail != nullptr && tail->first == code) out += tail->text;
}

}  // namespace exo::model
