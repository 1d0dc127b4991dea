#include "grammar/stacks.h"

#include <algorithm>

namespace exo::grammar {
namespace {

uint64_t HashOf(std::span<const StackTop> tops) {
  uint64_t hash = tops.size();
  for (const StackTop& top : tops) {
    for (const uint64_t part : {uint64_t{top.state} << 32 | top.count, uint64_t{top.below}}) {
      hash = (hash ^ part) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 29;
    }
  }
  return hash;
}

void PutNumber(std::vector<uint8_t>& out, uint32_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<uint8_t>(value | 0x80));
  out.push_back(static_cast<uint8_t>(value));
}

// False: the bytes end.
bool TakeNumber(std::span<const uint8_t>& bytes, uint32_t& value) {
  value = 0;
  for (int shift = 0; shift < 35 && !bytes.empty(); shift += 7) {
    const uint8_t byte = bytes.front();
    bytes = bytes.subspan(1);
    value |= static_cast<uint32_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

}  // namespace

Stacks::Stacks(const Automaton& automaton) : automaton_(automaton) {
  Clear();
}

void Stacks::Clear() {
  sets_.assign(2, {});  // dead and bottom have no tops
  tops_.clear();
  tables_.clear();
  known_.clear();
  returns_.clear();
}

uint64_t Stacks::bytes() const {
  return sets_.size() * (sizeof(Set) + 64) + tops_.size() * sizeof(StackTop) +
         tables_.size() * sizeof(tables_[0]);
}

SetId Stacks::Intern(std::vector<StackTop> tops) {
  std::ranges::sort(tops);
  // Stacks with the same top are one with all that lies below.
  std::vector<StackTop> merged;
  for (const StackTop& top : tops) {
    if (!merged.empty() && merged.back().state == top.state && merged.back().count == top.count) {
      merged.back().below = Union(merged.back().below, top.below);
    } else {
      merged.push_back(top);
    }
  }
  if (merged.empty()) return kDeadSet;
  if (merged.size() > kMostTops) {
    const bool ends = merged.back().state == kEnd;
    const StackTop end = merged.back();
    merged.resize(kMostTops);
    if (ends) merged.back() = end;
  }
  const uint64_t hash = HashOf(merged);
  for (auto [at, end] = known_.equal_range(hash); at != end; ++at) {
    if (std::ranges::equal(Tops(at->second), merged)) return at->second;
  }
  const auto id = static_cast<SetId>(sets_.size());
  Set set{.first = static_cast<uint32_t>(tops_.size()),
          .size = static_cast<uint32_t>(merged.size()),
          .ends = merged.back().state == kEnd};
  for (const StackTop& top : merged)
    set.depth = std::max<uint16_t>(set.depth, sets_[top.below].depth + 1);
  tops_.insert(tops_.end(), merged.begin(), merged.end());
  sets_.push_back(set);
  known_.emplace(hash, id);
  return id;
}

SetId Stacks::Union(SetId a, SetId b) {
  if (a == b) return a;
  std::vector<StackTop> all(Tops(a).begin(), Tops(a).end());
  all.insert(all.end(), Tops(b).begin(), Tops(b).end());
  // What is below the root has no tops: it is kept as the end of the text.
  if (a == kBottomSet || b == kBottomSet) all.push_back({.state = kEnd});
  return Intern(std::move(all));
}

// Whether something can happen in the state itself, beside calls and returning.
bool Stacks::Waits(const StackTop& top) const {
  const Automaton::State& state = automaton_.states[top.state];
  const Automaton::Rule& rule = automaton_.rules[state.rule];
  if (rule.counted && top.state == rule.start && top.count >= rule.most) return false;
  return state.edges > 0 || state.tokens > 0;
}

void Stacks::Close(const StackTop& top, std::vector<StackTop>& seen) {
  if (std::ranges::find(seen, top) != seen.end()) return;
  seen.push_back(top);
  if (top.state == kEnd) return;
  const Automaton::State& state = automaton_.states[top.state];
  const Automaton::Rule& rule = automaton_.rules[state.rule];
  for (const Automaton::Call& call : automaton_.CallsOf(state)) {
    const SetId below =
        call.tail ? top.below : Intern({{.state = call.to, .count = 0, .below = top.below}});
    const Automaton::Rule& called = automaton_.rules[call.rule];
    // Deeper, it could not end within the limit.
    if (sets_[below].depth + called.need > kMostDepth) continue;
    Close({.state = called.start, .count = 0, .below = below}, seen);
  }
  const bool ends = state.final && (!rule.counted || top.count >= rule.least);
  if (!ends) return;
  if (top.below == kBottomSet) return Close({.state = kEnd}, seen);
  const std::vector<StackTop> back(Tops(top.below).begin(), Tops(top.below).end());
  for (const StackTop& one : back) Close(one, seen);
}

SetId Stacks::Closed(std::span<const StackTop> tops) {
  std::vector<StackTop> seen;
  for (const StackTop& top : tops) Close(top, seen);
  std::erase_if(seen, [&](const StackTop& top) { return top.state != kEnd && !Waits(top); });
  return Intern(std::move(seen));
}

SetId Stacks::Start() {
  return Alone(automaton_.rules[automaton_.root].start, 0);
}

SetId Stacks::Alone(StateId state, uint32_t count) {
  const StackTop top{.state = state, .count = count};
  return Closed(std::span(&top, 1));
}

SetId Stacks::Return(SetId below) {
  if (below == kBottomSet) return kDeadSet;
  if (const auto known = returns_.find(below); known != returns_.end()) return known->second;
  const std::vector<StackTop> back(Tops(below).begin(), Tops(below).end());
  const SetId set = Closed(back);
  returns_[below] = set;
  return set;
}

SetId Stacks::StepNew(SetId set, uint8_t byte) {
  std::vector<StackTop> next;
  uint8_t low = 0, high = 255;  // bytes that lead to the same set
  for (const StackTop& top : Tops(set)) {
    if (top.state == kEnd) continue;
    const Automaton::State& state = automaton_.states[top.state];
    const Automaton::Rule& rule = automaton_.rules[state.rule];
    for (const Automaton::Edge& edge : automaton_.EdgesOf(state)) {
      if (byte < edge.low) {
        high = std::min<uint8_t>(high, edge.low - 1);
        break;
      }
      if (byte > edge.high) {
        low = std::max<uint8_t>(low, edge.high + 1);
        continue;
      }
      low = std::max(low, edge.low);
      high = std::min(high, edge.high);
      uint32_t count = top.count;
      // Without a most, all that matters is that the least is reached.
      if (rule.counted && edge.to == rule.start &&
          count < (rule.most == kNoLimit ? rule.least : rule.most))
        ++count;
      next.push_back({.state = edge.to, .count = count, .below = top.below});
      break;
    }
  }
  const SetId to = Closed(next);
  if (sets_[set].table == kNoTable) {
    sets_[set].table = static_cast<uint32_t>(tables_.size());
    tables_.emplace_back().fill(kUnknown);
  }
  auto& table = tables_[sets_[set].table];
  std::fill(table.begin() + low, table.begin() + high + 1, to);
  return to;
}

SetId Stacks::StepToken(SetId set, TokenId token) {
  std::vector<StackTop> next;
  const bool named = std::ranges::binary_search(automaton_.begin_tokens, token);
  for (const StackTop& top : Tops(set)) {
    if (top.state == kEnd) continue;
    for (const Automaton::TokenEdge& edge : automaton_.TokensOf(automaton_.states[top.state])) {
      if (edge.token == token || (edge.token < 0 && !named))
        next.push_back({.state = edge.to, .count = 0, .below = top.below});
    }
  }
  return Closed(next);
}

std::vector<uint8_t> Stacks::Serialize(SetId set) const {
  // Deepest first, so that each names only what stands before it.
  std::vector<SetId> order;
  std::unordered_map<SetId, uint32_t> number = {{kBottomSet, 0}};
  std::vector<std::pair<SetId, bool>> open = {{set, false}};
  while (!open.empty()) {
    const auto [id, done] = open.back();
    open.pop_back();
    if (number.contains(id)) continue;
    if (done) {
      order.push_back(id);
      number[id] = static_cast<uint32_t>(order.size());
      continue;
    }
    open.emplace_back(id, true);
    for (const StackTop& top : Tops(id)) open.emplace_back(top.below, false);
  }
  std::vector<uint8_t> out;
  for (int shift = 0; shift < 32; shift += 8)
    out.push_back(static_cast<uint8_t>(automaton_.check >> shift));
  PutNumber(out, static_cast<uint32_t>(order.size()));
  for (const SetId id : order) {
    PutNumber(out, static_cast<uint32_t>(Tops(id).size()));
    for (const StackTop& top : Tops(id)) {
      PutNumber(out, top.state + 1);  // kEnd is 0
      PutNumber(out, top.count);
      PutNumber(out, number.at(top.below));
    }
  }
  return out;
}

SetId Stacks::Parse(std::span<const uint8_t> bytes) {
  if (bytes.size() < 4) return kDeadSet;
  uint32_t check = 0;
  for (int i = 0; i < 4; ++i)
    check |= static_cast<uint32_t>(bytes[static_cast<size_t>(i)]) << 8 * i;
  bytes = bytes.subspan(4);
  uint32_t count = 0;
  if (check != automaton_.check || !TakeNumber(bytes, count) || count > bytes.size())
    return kDeadSet;
  std::vector<SetId> sets = {kBottomSet};
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t size = 0;
    if (!TakeNumber(bytes, size) || size == 0 || size > kMostTops) return kDeadSet;
    std::vector<StackTop> tops;
    for (uint32_t k = 0; k < size; ++k) {
      uint32_t state = 0, times = 0, below = 0;
      if (!TakeNumber(bytes, state) || !TakeNumber(bytes, times) || !TakeNumber(bytes, below) ||
          state > automaton_.states.size() || below >= sets.size())
        return kDeadSet;
      if (sets_[sets[below]].depth >= kMostDepth) return kDeadSet;
      tops.push_back({.state = state - 1, .count = times, .below = sets[below]});
    }
    sets.push_back(Intern(std::move(tops)));
  }
  return bytes.empty() ? sets.back() : kDeadSet;
}

}  // namespace exo::grammar
