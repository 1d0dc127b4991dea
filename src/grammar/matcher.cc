#include "grammar/matcher.h"

#include <algorithm>
#include <bit>

namespace exo::grammar {
namespace {

// Of one grammar: a thousand masks of a large vocabulary, and the sets of some ten thousand places.
constexpr uint64_t kMaxMaskBytes = 16u << 20;
constexpr uint64_t kMaxLocalBytes = 16u << 20;
constexpr uint64_t kMaxSetBytes = 48u << 20;
constexpr size_t kMaxPlaces = 1u << 15;
// A subtree of fewer nodes is as soon walked as looked at.
constexpr uint32_t kLeastLoop = 4;

// A place from which nothing goes on; empty would be the beginning.
const std::vector<uint8_t> kNowhere = {0};

uint32_t MostNeed(const Automaton& automaton) {
  uint32_t most = 0;
  for (const Automaton::State& state : automaton.states) {
    if (state.need != UINT32_MAX) most = std::max(most, state.need);
  }
  return most;
}

// As many tokens take less memory, and less time, one by one.
constexpr size_t kFewPart = 128;

void Set(std::span<uint64_t> bits, TokenId token) {
  const auto t = static_cast<size_t>(token);
  bits[t / 64] |= uint64_t{1} << t % 64;
}

}  // namespace

Matcher::Matcher(std::shared_ptr<const Automaton> automaton,
                 std::shared_ptr<const TokenTrie> tokens)
    : automaton_(std::move(automaton)),
      tokens_(std::move(tokens)),
      stacks_(*automaton_),
      loops_(automaton_->states.size()),
      path_(tokens_->longest() + 1),
      most_need_(MostNeed(*automaton_)) {}

void Matcher::MakeRoom() {
  if (local_bytes_ > kMaxLocalBytes) {
    locals_.clear();
    local_bytes_ = 0;
  }
  if (stacks_.bytes() <= kMaxSetBytes && places_.size() <= kMaxPlaces) return;
  stacks_.Clear();
  places_.clear();
  masks_.clear();
  mask_bytes_ = 0;
  recent_.clear();
}

void Matcher::Tokens::AddTo(std::span<uint64_t> all) const {
  for (size_t i = 0; i < bits.size(); ++i) all[i] |= bits[i];
  for (const TokenId token : few) Set(all, token);
}

Matcher::Tokens Matcher::Packed(std::span<const uint64_t> bits) {
  size_t count = 0;
  for (const uint64_t word : bits) count += static_cast<size_t>(std::popcount(word));
  Tokens out;
  if (count * kFewPart > bits.size() * 64) {
    out.bits.assign(bits.begin(), bits.end());
    return out;
  }
  out.few.reserve(count);
  for (size_t i = 0; i < bits.size(); ++i) {
    for (uint64_t word = bits[i]; word != 0; word &= word - 1)
      out.few.push_back(static_cast<TokenId>(i * 64 + static_cast<size_t>(std::countr_zero(word))));
  }
  return out;
}

SetId Matcher::Find(std::span<const uint8_t> place) {
  MakeRoom();
  std::string key(place.begin(), place.end());
  const auto known = places_.find(key);
  if (known != places_.end()) return known->second;
  const SetId set = place.empty() ? stacks_.Start() : stacks_.Parse(place);
  places_[std::move(key)] = set;
  return set;
}

SetId Matcher::After(SetId set, TokenId token) {
  if (token < 0 || static_cast<size_t>(token) >= tokens_->vocab()) return kDeadSet;
  if (tokens_->IsSpecial(token)) return stacks_.StepToken(set, token);
  const std::string& bytes = tokens_->bytes(token);
  if (bytes.empty()) return kDeadSet;
  for (const char c : bytes) set = stacks_.Step(set, static_cast<uint8_t>(c));
  return set;
}

// The state comes back to itself over these characters, whatever their number.
const Matcher::Loop& Matcher::LoopOf(StateId state) {
  Loop& loop = loops_[state];
  if (loop.known) return loop;
  loop.known = true;
  const auto next = [&](StateId from, uint8_t byte) {
    for (const auto& edge : automaton_->EdgesOf(automaton_->states[from])) {
      if (edge.low <= byte && byte <= edge.high) return edge.to;
    }
    return kEnd;
  };
  for (uint8_t byte = 0; byte < 128; ++byte) {
    if (next(state, byte) != state) continue;
    (byte < 64 ? loop.low : loop.high) |= uint64_t{1} << byte % 64;
  }
  // Every byte range of UTF-8 must lead through states that all come back here.
  const auto returns = [&](const CharSet& chars) {
    return std::ranges::all_of(Utf8Of(chars), [&](const ByteSequence& sequence) {
      std::vector<StateId> at = {state};
      for (size_t i = 0; i < sequence.size; ++i) {
        std::vector<StateId> to;
        for (const StateId from : at) {
          for (int byte = sequence.bytes[i].low; byte <= sequence.bytes[i].high; ++byte) {
            const StateId one = next(from, static_cast<uint8_t>(byte));
            if (one == kEnd) return false;
            if (std::ranges::find(to, one) == to.end()) to.push_back(one);
          }
        }
        at = std::move(to);
      }
      return at == std::vector<StateId>{state};
    });
  };
  const CharSet separators(0x2028, 0x2029);
  loop.wide = returns(CharSet(0x80, kLastChar).And(separators.Negated()));
  loop.separators = loop.wide && returns(separators);
  return loop;
}

uint32_t Matcher::LoopsOver(SetId set, const TokenTrie::Node& node) {
  if (!node.boundary) return 0;
  uint32_t most = 0;
  const TokenTrie::Contents& below = tokens_->contents(node);
  for (const StackTop& top : stacks_.Tops(set)) {
    if (top.state == kEnd) continue;
    const Loop& loop = LoopOf(top.state);
    if ((below.low & ~loop.low) != 0 || (below.high & ~loop.high) != 0) continue;
    if (below.wide && !(loop.wide && node.utf8_below)) continue;
    if (below.separators && !loop.separators) continue;
    const Automaton::Rule& rule = automaton_->rules[automaton_->states[top.state].rule];
    if (!rule.counted || rule.most == kNoLimit) return kNoLimit;
    most = std::max(most, rule.most - top.count);
  }
  return most;
}

// Nodes [begin, end) are children of one node and what is below them; `from` is the set there.
void Matcher::Walk(SetId from, uint32_t begin, uint32_t end, std::vector<uint64_t>& bits,
                   Local* local) {
  const auto nodes = tokens_->nodes();
  const auto order = tokens_->order();
  if (begin == end) return;
  path_[nodes[begin].depth - 1u] = from;
  for (uint32_t i = begin; i < end;) {
    const TokenTrie::Node& node = nodes[i];
    const SetId set = stacks_.Step(path_[node.depth - 1u], node.byte);
    if (set == kDeadSet) {
      i = node.end;
      continue;
    }
    deepest_ = std::max(deepest_, stacks_.depth(set));
    const bool leaf = i + 1 == node.end;
    const uint32_t loops = leaf || node.end - i <= kLeastLoop ? 0 : LoopsOver(set, node);
    const bool whole = loops >= node.chars && loops > 0;
    const size_t below =
        (node.end < nodes.size() ? nodes[node.end].first : order.size()) - node.first;
    for (const TokenId token : order.subspan(node.first, whole ? below : node.own))
      Set(bits, token);
    if (leaf || whole) {
      i = node.end;
      continue;
    }
    if (local != nullptr && loops > 0) {
      const uint32_t most = node.before + loops;
      for (size_t k = node.first; k < node.first + below; ++k) {
        if (tokens_->chars()[k] <= most) Set(bits, order[k]);
      }
      local->cut.push_back(i);
      i = node.end;
      continue;
    }
    if (local != nullptr && stacks_.Ends(set)) local->exits.push_back(i);
    path_[node.depth] = set;
    ++i;
  }
}

TokenTrie::Contents Matcher::FirstBytes(SetId set) {
  TokenTrie::Contents first;
  for (int byte = 0; byte < 256; ++byte) {
    if (stacks_.Step(set, static_cast<uint8_t>(byte)) == kDeadSet) continue;
    if (byte >= 128) {
      first.wide = true;
    } else {
      (byte < 64 ? first.low : first.high) |= uint64_t{1} << byte % 64;
    }
  }
  return first;
}

void Matcher::WalkBehind(SetId set, const Local& local, SetId back, std::vector<uint64_t>& bits) {
  const TokenTrie::Contents first = FirstBytes(back);
  const auto nodes = tokens_->nodes();
  const auto goes_on = [&](uint32_t node) {
    const TokenTrie::Contents& below = tokens_->contents(nodes[node]);
    return (below.low & first.low) != 0 || (below.high & first.high) != 0 ||
           (below.wide && first.wide);
  };
  for (const uint32_t node : local.exits) {
    if (goes_on(node)) Walk(back, node + 1, nodes[node].end, bits, nullptr);
  }
  for (const uint32_t node : local.cut) {
    if (!goes_on(node)) continue;
    SetId at = set;
    const std::string& way = tokens_->bytes(tokens_->order()[nodes[node].first]);
    for (size_t i = 0; i < nodes[node].depth; ++i)
      at = stacks_.Step(at, static_cast<uint8_t>(way[i]));
    Walk(at, node + 1, nodes[node].end, bits, nullptr);
  }
}

const Matcher::Local& Matcher::LocalOf(const StackTop& top) {
  const Automaton::Rule& rule = automaton_->rules[automaton_->states[top.state].rule];
  uint64_t key = uint64_t{top.state} << 32;
  if (rule.counted) {
    key = uint64_t{automaton_->rules[rule.body].start + (top.state - rule.start)} << 32;
    // A token has no more characters than bytes: what is beyond them makes no difference.
    const auto most = static_cast<uint32_t>(std::min<size_t>(tokens_->longest(), UINT16_MAX));
    const uint32_t left = rule.most == kNoLimit ? most : std::min(most, rule.most - top.count);
    const uint32_t lacks = rule.least > top.count ? std::min(most, rule.least - top.count) : 0;
    key |= uint64_t{left} << 16 | lacks;
  }
  const auto [at, is_new] = locals_.try_emplace(key);
  Local& local = at->second;
  if (!is_new) return local;
  std::vector<uint64_t> bits((tokens_->vocab() + 63) / 64);
  const SetId alone = stacks_.Alone(top.state, top.count);
  deepest_ = stacks_.depth(alone);
  Walk(alone, 0, static_cast<uint32_t>(tokens_->nodes().size()), bits, &local);
  local.tokens = Packed(bits);
  local_bytes_ += sizeof(Local) + local.tokens.bytes() +
                  (local.exits.size() + local.cut.size()) * sizeof(uint32_t);
  local.depth = deepest_ + most_need_ + 1;
  return local;
}

bool Matcher::HasTokenEdges(SetId set) {
  return std::ranges::any_of(stacks_.Tops(set), [&](const StackTop& top) {
    return top.state != kEnd && automaton_->states[top.state].tokens > 0;
  });
}

void Matcher::AddSpecials(SetId set, std::vector<uint64_t>& bits) {
  if (HasTokenEdges(set)) {
    for (const TokenId token : tokens_->specials()) {
      if (stacks_.StepToken(set, token) != kDeadSet) Set(bits, token);
    }
  }
  if (stacks_.Ends(set)) {
    for (const TokenId token : tokens_->ends()) Set(bits, token);
  }
}

const Matcher::Tokens& Matcher::MaskOf(SetId set) {
  if (const auto known = masks_.find(set); known != masks_.end()) {
    recent_.splice(recent_.begin(), recent_, known->second.used);
    return known->second.tokens;
  }
  const size_t words = (tokens_->vocab() + 63) / 64;
  while (!recent_.empty() && mask_bytes_ > kMaxMaskBytes) {
    const auto oldest = masks_.find(recent_.back());
    mask_bytes_ -= sizeof(Mask) + oldest->second.tokens.bytes();
    masks_.erase(oldest);
    recent_.pop_back();
  }
  std::vector<uint64_t> bits(words);
  const std::vector<StackTop> tops(stacks_.Tops(set).begin(), stacks_.Tops(set).end());
  for (const StackTop& top : tops) {
    if (top.state == kEnd) continue;
    const Local& local = LocalOf(top);
    if (stacks_.depth(top.below) + local.depth > kMostDepth) {
      // So deep, what fits into the rule depends on what stands around it.
      std::ranges::fill(bits, 0);
      Walk(set, 0, static_cast<uint32_t>(tokens_->nodes().size()), bits, nullptr);
      break;
    }
    local.tokens.AddTo(bits);
    if ((local.exits.empty() && local.cut.empty()) || top.below == kBottomSet) continue;
    WalkBehind(set, local, stacks_.Return(top.below), bits);
  }
  AddSpecials(set, bits);
  recent_.push_front(set);
  const Mask& mask = masks_.emplace(set, Mask{Packed(bits), recent_.begin()}).first->second;
  mask_bytes_ += sizeof(Mask) + mask.tokens.bytes();
  return mask.tokens;
}

void Matcher::Allow(std::span<const uint8_t> place, std::span<uint64_t> allowed) {
  const MutexLock lock(mutex_);
  const Tokens& tokens = MaskOf(Find(place));
  // A model of fewer tokens than its tokenizer has is no reason to write beyond its logits.
  const size_t words = (tokens_->vocab() + 63) / 64;
  if (allowed.size() >= words) return tokens.AddTo(allowed);
  std::vector<uint64_t> all(words);
  tokens.AddTo(all);
  std::ranges::copy(std::span(all).first(allowed.size()), allowed.begin());
}

void Matcher::Prepare(std::span<const uint8_t> place) {
  const MutexLock lock(mutex_);
  MaskOf(Find(place));
}

std::vector<uint8_t> Matcher::Next(std::span<const uint8_t> place, TokenId token) {
  const MutexLock lock(mutex_);
  const SetId set = After(Find(place), token);
  if (set == kDeadSet) return kNowhere;
  std::vector<uint8_t> bytes = stacks_.Serialize(set);
  places_.try_emplace(std::string(bytes.begin(), bytes.end()), set);
  return bytes;
}

size_t Matcher::FirstTwo(SetId set, TokenId (&found)[2]) {
  size_t count = 0;
  if (HasTokenEdges(set)) {
    for (const TokenId token : tokens_->specials()) {
      if (stacks_.StepToken(set, token) == kDeadSet) continue;
      found[count++] = token;
      if (count == 2) return count;
    }
  }
  const auto nodes = tokens_->nodes();
  path_[0] = set;
  for (uint32_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const SetId next = stacks_.Step(path_[node.depth - 1u], node.byte);
    if (next == kDeadSet) {
      i = node.end;
      continue;
    }
    for (uint32_t k = 0; k < node.own; ++k) {
      found[count++] = tokens_->order()[node.first + k];
      if (count == 2) return count;
    }
    path_[node.depth] = next;
    ++i;
  }
  return count;
}

std::optional<TokenId> Matcher::Only(std::span<const uint8_t> place) {
  const MutexLock lock(mutex_);
  const SetId set = Find(place);
  TokenId found[2];
  if (set == kDeadSet || stacks_.Ends(set) || FirstTwo(set, found) != 1) return std::nullopt;
  return found[0];
}

bool Matcher::MayEnd(std::span<const uint8_t> place) {
  const MutexLock lock(mutex_);
  return stacks_.Ends(Find(place));
}

bool Matcher::MustEnd(std::span<const uint8_t> place) {
  const MutexLock lock(mutex_);
  const SetId set = Find(place);
  TokenId found[2];
  return stacks_.Ends(set) && FirstTwo(set, found) == 0;
}

}  // namespace exo::grammar
