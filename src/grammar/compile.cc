// Rules to automaton: each rule's expression to a nondeterministic automaton, that to a
// deterministic one (calls are letters of its alphabet too), and what can never end is cut off.
#include <algorithm>
#include <bitset>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "grammar/automaton.h"

namespace exo::grammar {
namespace {

// Copies of a repeated part up to which it is written out.
constexpr uint32_t kMostCopies = 6;
constexpr size_t kMaxNodes = 1u << 19;
constexpr size_t kMaxRuleStates = 1u << 14;
constexpr uint32_t kNever = UINT32_MAX;

struct Node {
  std::vector<uint32_t> empty;
  std::vector<Automaton::Edge> bytes;
  std::vector<Automaton::Call> calls;
  std::vector<Automaton::TokenEdge> tokens;
};

// One rule's deterministic automaton; `to` is an index into it. [0] is the start.
struct RuleState {
  std::vector<Automaton::Edge> edges;
  std::vector<Automaton::Call> calls;
  std::vector<Automaton::TokenEdge> tokens;
  bool final = false;
};
using RuleDfa = std::vector<RuleState>;

struct NodesHash {
  size_t operator()(const std::vector<uint32_t>& nodes) const {
    uint64_t hash = nodes.size();
    for (const uint32_t node : nodes) {
      hash = (hash ^ node) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 32;
    }
    return hash;
  }
};

void AddEdge(std::vector<Automaton::Edge>& edges, Automaton::Edge edge) {
  if (!edges.empty() && edges.back().to == edge.to && edges.back().high + 1 == edge.low) {
    edges.back().high = edge.high;
  } else {
    edges.push_back(edge);
  }
}

std::unexpected<Error> TooLarge() {
  return Fail(ErrorCode::kUnsupported,
              "the grammar is too large or too ambiguous to compile; use fewer alternatives, "
              "shorter repetitions or simpler patterns");
}

class Compiler {
 public:
  explicit Compiler(const Rules& rules) : rules_(rules) {}
  Result<std::shared_ptr<const Automaton>> Run();

 private:
  struct Counted {
    ExprId part;
    uint32_t least, most;
    auto operator<=>(const Counted&) const = default;
  };

  uint32_t AddNode() {
    nodes_.emplace_back();
    return static_cast<uint32_t>(nodes_.size() - 1);
  }
  // Adds the expression behind node `from`; the node behind it.
  Result<uint32_t> Emit(ExprId id, uint32_t from);
  Result<uint32_t> EmitRepeat(const Expression& e, uint32_t from);
  Result<uint32_t> EmitStar(ExprId part, uint32_t from);
  Result<uint32_t> EmitDfa(const Expression& e, uint32_t from);
  uint32_t EmitBytes(std::string_view bytes, uint32_t from);
  void EmitUtf8(const ByteSequence& sequence, uint32_t from, uint32_t to);
  void EmitChars(CharRange range, Encoding encoding, uint32_t from, uint32_t to);
  // A counted rule for the repetition, when its part is a loop that shows where it ends.
  Result<std::optional<RuleId>> FindCounted(const Counted& counted);

  std::vector<uint32_t> Closure(std::vector<uint32_t> nodes);
  Result<RuleDfa> Determinize(uint32_t start, uint32_t end);
  Result<void> Work(uint64_t steps);
  void Append(RuleId rule, RuleDfa dfa, const Counted* counted);
  Result<void> CheckLeftRecursion() const;
  void FindNeeds();
  void Cut();

  const Rules& rules_;
  Automaton out_;
  std::vector<Node> nodes_;  // of the rule in work
  uint32_t end_ = 0;         // its last node
  // Of the rule: nodes from which 1 to 3 bytes of a character's rest lead to a node.
  std::map<std::pair<uint32_t, size_t>, uint32_t> tails_;
  uint64_t work_ = 0;
  std::map<Counted, std::optional<RuleId>> counted_;
  std::map<ExprId, RuleId> bodies_;  // of counted rules: the first one of each part
};

Result<void> Compiler::Work(uint64_t steps) {
  work_ += steps;
  if (work_ <= kMaxCompileWork && nodes_.size() <= kMaxNodes &&
      out_.states.size() <= kMaxAutomatonStates)
    return {};
  return TooLarge();
}

uint32_t Compiler::EmitBytes(std::string_view bytes, uint32_t from) {
  for (const char c : bytes) {
    const uint32_t to = AddNode();
    const auto byte = static_cast<uint8_t>(c);
    nodes_[from].bytes.push_back({byte, byte, to});
    from = to;
  }
  return from;
}

void Compiler::EmitUtf8(const ByteSequence& sequence, uint32_t from, uint32_t to) {
  // Where any rest of a character may follow, it is the same for all beginnings.
  size_t fixed = sequence.size;
  while (fixed > 1 && sequence.bytes[fixed - 1].low == 0x80 &&
         sequence.bytes[fixed - 1].high == 0xBF)
    --fixed;
  for (size_t left = 1; left <= sequence.size - fixed; ++left) {
    const auto [at, is_new] = tails_.try_emplace({to, left}, static_cast<uint32_t>(nodes_.size()));
    if (!is_new) continue;
    const uint32_t next = left == 1 ? to : tails_.at({to, left - 1});
    nodes_[AddNode()].bytes.push_back({0x80, 0xBF, next});
  }
  const uint32_t last = fixed == sequence.size ? to : tails_.at({to, sequence.size - fixed});
  for (size_t i = 0; i < fixed; ++i) {
    const uint32_t next = i + 1 == fixed ? last : AddNode();
    nodes_[from].bytes.push_back({sequence.bytes[i].low, sequence.bytes[i].high, next});
    from = next;
  }
}

Result<uint32_t> Compiler::Emit(ExprId id, uint32_t from) {
  using enum Expression::Kind;
  const Expression& e = rules_.expression(id);
  TRY(Work(1 + e.parts.size() + e.sequences.size()));
  switch (e.kind) {
    case kBytes:
      return EmitBytes(e.bytes, from);
    case kUtf8: {
      const uint32_t to = AddNode();
      for (const ByteSequence& sequence : e.sequences) EmitUtf8(sequence, from, to);
      return to;
    }
    case kSequence:
      for (const ExprId part : e.parts) from = TRY(Emit(part, from));
      return from;
    case kChoice: {
      const uint32_t to = AddNode();
      for (const ExprId part : e.parts) {
        const uint32_t begin = AddNode();
        nodes_[from].empty.push_back(begin);
        const uint32_t end = TRY(Emit(part, begin));
        nodes_[end].empty.push_back(to);
      }
      return to;
    }
    case kRepeat:
      return EmitRepeat(e, from);
    case kCall: {
      const uint32_t to = AddNode();
      nodes_[from].calls.push_back({e.rule, to});
      return to;
    }
    case kDfa:
      return EmitDfa(e, from);
    case kToken: {
      const uint32_t to = AddNode();
      nodes_[from].tokens.push_back({e.token, to});
      return to;
    }
  }
  return from;
}

Result<uint32_t> Compiler::EmitStar(ExprId part, uint32_t from) {
  const uint32_t head = AddNode();
  nodes_[from].empty.push_back(head);
  const uint32_t end = TRY(Emit(part, head));
  nodes_[end].empty.push_back(head);
  return head;
}

Result<uint32_t> Compiler::EmitRepeat(const Expression& e, uint32_t from) {
  const bool endless = e.most == kNoLimit;
  if ((endless ? e.least : e.most) > kMostCopies) {
    if (const auto rule = TRY(FindCounted({e.parts[0], e.least, e.most}))) {
      const uint32_t to = AddNode();
      nodes_[from].calls.push_back({*rule, to});
      return to;
    }
  }
  for (uint32_t i = 0; i < e.least; ++i) {
    TRY(Work(1));
    from = TRY(Emit(e.parts[0], from));
  }
  if (endless) return EmitStar(e.parts[0], from);
  const uint32_t to = AddNode();
  for (uint32_t i = e.least; i < e.most; ++i) {
    TRY(Work(1));
    nodes_[from].empty.push_back(to);
    const uint32_t begin = AddNode();
    nodes_[from].empty.push_back(begin);
    from = TRY(Emit(e.parts[0], begin));
  }
  nodes_[from].empty.push_back(to);
  return to;
}

void Compiler::EmitChars(CharRange range, Encoding encoding, uint32_t from, uint32_t to) {
  const auto plain = [&](uint32_t low, uint32_t high) {
    for (const ByteSequence& sequence : Utf8Of(CharSet(low, high))) EmitUtf8(sequence, from, to);
  };
  if (encoding == Encoding::kText) return plain(range.low, range.high);
  for (uint32_t c = range.low; c <= range.high; ++c) {
    const std::string escape = JsonEscape(c);
    if (escape.size() > 2 && range.low != range.high) continue;
    if (!escape.empty()) {
      nodes_[EmitBytes(escape, from)].empty.push_back(to);
      continue;
    }
    const uint32_t limit = c < '"' ? '"' : c < '\\' ? '\\' : kLastChar + 1;
    const uint32_t high = std::min(range.high, limit - 1);
    plain(c, high);
    c = high;
  }
}

Result<uint32_t> Compiler::EmitDfa(const Expression& e, uint32_t from) {
  const auto first = static_cast<uint32_t>(nodes_.size());
  for (size_t i = 0; i < e.dfa->states.size(); ++i) AddNode();
  const uint32_t to = AddNode();
  nodes_[from].empty.push_back(first);
  for (uint32_t i = 0; i < e.dfa->states.size(); ++i) {
    const CharDfa::State& state = e.dfa->states[i];
    TRY(Work(1 + 4 * state.edges.size()));
    if (e.rest != kNoLimit && e.dfa->Everything(i)) {
      nodes_[first + i].calls.push_back({e.rest, to});
      continue;
    }
    for (const CharDfa::Edge& edge : state.edges)
      EmitChars(edge.range, e.encoding, first + i, first + edge.to);
    if (!state.final) continue;
    const uint32_t end = EmitBytes(e.bytes, first + i);
    nodes_[end].empty.push_back(to);
  }
  return to;
}

Result<std::optional<RuleId>> Compiler::FindCounted(const Counted& counted) {
  if (const auto known = counted_.find(counted); known != counted_.end()) return known->second;
  std::vector<Node> nodes = std::exchange(nodes_, {});
  auto tails = std::exchange(tails_, {});
  const uint32_t head = AddNode();
  const uint32_t end = TRY(Emit(counted.part, head));
  nodes_[end].empty.push_back(head);
  RuleDfa dfa = TRY(Determinize(head, head));
  nodes_ = std::move(nodes);
  tails_ = std::move(tails);
  // It ends nowhere but at its start, and consists of bytes alone.
  bool good = true;
  for (size_t i = 0; i < dfa.size(); ++i) {
    good = good && dfa[i].calls.empty() && dfa[i].tokens.empty() && dfa[i].final == (i == 0);
  }
  std::optional<RuleId> rule;
  if (good) {
    rule = static_cast<RuleId>(out_.rules.size());
    out_.rules.emplace_back();
    Append(*rule, std::move(dfa), &counted);
    out_.rules[*rule].body = bodies_.try_emplace(counted.part, *rule).first->second;
  }
  counted_[counted] = rule;
  return rule;
}

std::vector<uint32_t> Compiler::Closure(std::vector<uint32_t> nodes) {
  std::vector<uint32_t> stack = nodes;
  std::vector<uint32_t> seen = std::move(nodes);
  std::ranges::sort(seen);
  while (!stack.empty()) {
    const uint32_t node = stack.back();
    stack.pop_back();
    for (const uint32_t to : nodes_[node].empty) {
      const auto at = std::ranges::lower_bound(seen, to);
      if (at != seen.end() && *at == to) continue;
      seen.insert(at, to);
      stack.push_back(to);
    }
    ++work_;
  }
  // Nodes that only lead on make no difference: without them, equal sets look equal.
  std::erase_if(seen, [&](uint32_t node) {
    const Node& n = nodes_[node];
    return node != end_ && n.bytes.empty() && n.calls.empty() && n.tokens.empty();
  });
  return seen;
}

Result<RuleDfa> Compiler::Determinize(uint32_t start, uint32_t end) {
  end_ = end;
  std::unordered_map<std::vector<uint32_t>, uint32_t, NodesHash> known;
  std::vector<std::vector<uint32_t>> sets;
  const auto id = [&](std::vector<uint32_t> nodes) {
    std::ranges::sort(nodes);
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
    const auto [at, is_new] =
        known.try_emplace(Closure(std::move(nodes)), static_cast<uint32_t>(sets.size()));
    if (is_new) sets.push_back(at->first);
    return at->second;
  };
  id({start});
  RuleDfa dfa;
  for (size_t i = 0; i < sets.size(); ++i) {
    const std::vector<uint32_t> set = sets[i];
    TRY(Work(4 + set.size()));
    if (sets.size() > kMaxRuleStates) return TooLarge();
    RuleState state{.final = std::ranges::binary_search(set, end)};
    std::vector<Automaton::Edge> edges;
    std::map<RuleId, std::vector<uint32_t>> calls;
    std::map<TokenId, std::vector<uint32_t>> tokens;
    std::bitset<257> cuts;
    for (const uint32_t node : set) {
      for (const auto& edge : nodes_[node].bytes) {
        edges.push_back(edge);
        cuts.set(edge.low);
        cuts.set(size_t{edge.high} + 1);
      }
      for (const auto& call : nodes_[node].calls) calls[call.rule].push_back(call.to);
      for (const auto& edge : nodes_[node].tokens) tokens[edge.token].push_back(edge.to);
    }
    for (size_t low = 0; low < 256 && !edges.empty();) {
      size_t behind = low + 1;
      while (behind < 256 && !cuts[behind]) ++behind;
      std::vector<uint32_t> to;
      for (const auto& edge : edges) {
        if (edge.low <= low && low <= edge.high) to.push_back(edge.to);
      }
      TRY(Work(edges.size()));
      if (!to.empty())
        AddEdge(state.edges,
                {static_cast<uint8_t>(low), static_cast<uint8_t>(behind - 1), id(std::move(to))});
      low = behind;
    }
    for (auto& [rule, to] : calls) state.calls.push_back({rule, id(std::move(to))});
    for (auto& [token, to] : tokens) state.tokens.push_back({token, id(std::move(to))});
    dfa.push_back(std::move(state));
  }
  return dfa;
}

void Compiler::Append(RuleId rule, RuleDfa dfa, const Counted* counted) {
  const auto first = static_cast<StateId>(out_.states.size());
  out_.rules[rule] = {.start = first};
  if (counted != nullptr)
    out_.rules[rule] = {
        .start = first, .counted = true, .least = counted->least, .most = counted->most};
  for (const RuleState& state : dfa) {
    Automaton::State s{.first_edge = static_cast<uint32_t>(out_.edges_.size()),
                       .edges = static_cast<uint32_t>(state.edges.size()),
                       .first_call = static_cast<uint32_t>(out_.calls_.size()),
                       .calls = static_cast<uint32_t>(state.calls.size()),
                       .first_token = static_cast<uint32_t>(out_.tokens_.size()),
                       .tokens = static_cast<uint32_t>(state.tokens.size()),
                       .rule = rule,
                       .final = state.final};
    for (auto edge : state.edges) out_.edges_.push_back({edge.low, edge.high, first + edge.to});
    for (auto call : state.calls) {
      const RuleState& to = dfa[call.to];
      const bool tail = to.final && to.edges.empty() && to.calls.empty() && to.tokens.empty();
      out_.calls_.push_back({call.rule, first + call.to, tail});
    }
    for (auto edge : state.tokens) out_.tokens_.push_back({edge.token, first + edge.to});
    out_.states.push_back(s);
  }
}

// A rule that comes back to itself before it has read anything would never end.
Result<void> Compiler::CheckLeftRecursion() const {
  const size_t count = out_.rules.size();
  std::vector<bool> nullable(count);
  // States of a rule that are reached without a byte, and the rules that they call.
  const auto walk = [&](RuleId rule, std::vector<RuleId>* calls) {
    std::vector<StateId> states = {out_.rules[rule].start};
    bool ends = out_.rules[rule].counted && out_.rules[rule].least == 0;
    for (size_t i = 0; i < states.size(); ++i) {
      const Automaton::State& state = out_.states[states[i]];
      ends = ends || (state.final && !out_.rules[rule].counted);
      for (const auto& call : out_.CallsOf(state)) {
        if (calls != nullptr) calls->push_back(call.rule);
        if (nullable[call.rule] && std::ranges::find(states, call.to) == states.end())
          states.push_back(call.to);
      }
    }
    return ends;
  };
  for (bool more = true; more;) {
    more = false;
    for (RuleId rule = 0; rule < count; ++rule) {
      if (nullable[rule] || !walk(rule, nullptr)) continue;
      nullable[rule] = more = true;
    }
  }
  enum : uint8_t { kNew, kOpen, kDone };
  std::vector<uint8_t> seen(count, kNew);
  struct Open {
    RuleId rule;
    std::vector<RuleId> calls;
    size_t next = 0;
  };
  for (RuleId root = 0; root < count; ++root) {
    if (seen[root] != kNew) continue;
    std::vector<Open> open;
    const auto enter = [&](RuleId rule) {
      seen[rule] = kOpen;
      open.push_back({rule, {}});
      walk(rule, &open.back().calls);
    };
    enter(root);
    while (!open.empty()) {
      if (open.back().next == open.back().calls.size()) {
        seen[open.back().rule] = kDone;
        open.pop_back();
        continue;
      }
      const RuleId rule = open.back().calls[open.back().next++];
      if (seen[rule] == kOpen)
        return Fail(ErrorCode::kUnsupported,
                    "a rule of the grammar begins with itself (left recursion); write it as a "
                    "repetition");
      if (seen[rule] == kNew) enter(rule);
    }
  }
  return {};
}

void Compiler::FindNeeds() {
  // Who looks at a state: those that need to be looked at again when it is found to end sooner.
  std::vector<std::vector<StateId>> users(out_.states.size());
  std::vector<StateId> work;
  std::vector<uint32_t> onward(out_.states.size(), kNever);  // where it may not end yet
  for (StateId id = 0; id < out_.states.size(); ++id) {
    Automaton::State& state = out_.states[id];
    state.need = state.final ? 0 : kNever;
    for (const auto& edge : out_.EdgesOf(state)) users[edge.to].push_back(id);
    for (const auto& edge : out_.TokensOf(state)) users[edge.to].push_back(id);
    for (const auto& call : out_.CallsOf(state)) {
      users[call.to].push_back(id);
      users[out_.rules[call.rule].start].push_back(id);
    }
    work.push_back(id);
  }
  const auto need_of = [&](const Automaton::Rule& rule) {
    const bool may_end = !rule.counted || rule.least == 0;
    return may_end ? out_.states[rule.start].need : onward[rule.start];
  };
  while (!work.empty()) {
    const StateId id = work.back();
    work.pop_back();
    Automaton::State& state = out_.states[id];
    uint32_t need = onward[id];
    for (const auto& edge : out_.EdgesOf(state)) need = std::min(need, out_.states[edge.to].need);
    for (const auto& edge : out_.TokensOf(state)) need = std::min(need, out_.states[edge.to].need);
    for (const auto& call : out_.CallsOf(state)) {
      const uint32_t inside = need_of(out_.rules[call.rule]);
      const uint32_t behind = out_.states[call.to].need;
      if (inside == kNever || behind == kNever) continue;
      need = std::min(need, std::max(call.tail ? inside : inside + 1, behind));
    }
    if (need == onward[id]) continue;
    onward[id] = need;
    if (!state.final) state.need = need;
    work.insert(work.end(), users[id].begin(), users[id].end());
  }
  for (Automaton::Rule& rule : out_.rules) rule.need = need_of(rule);
}

// Takes away edges to states from which the rule cannot end.
void Compiler::Cut() {
  const auto cut = [&](auto& all, uint32_t first, uint32_t count, auto dead) {
    const auto begin = all.begin() + first;
    return static_cast<uint32_t>(std::remove_if(begin, begin + count, dead) - begin);
  };
  const auto never = [&](const auto& edge) { return out_.states[edge.to].need == kNever; };
  for (Automaton::State& state : out_.states) {
    state.edges = cut(out_.edges_, state.first_edge, state.edges, never);
    state.tokens = cut(out_.tokens_, state.first_token, state.tokens, never);
    state.calls = cut(out_.calls_, state.first_call, state.calls, [&](const Automaton::Call& call) {
      return never(call) || out_.rules[call.rule].need == kNever;
    });
  }
}

Result<std::shared_ptr<const Automaton>> Compiler::Run() {
  out_.rules.resize(rules_.rules());
  out_.root = rules_.root;
  out_.begin_tokens = rules_.begin_tokens;
  std::ranges::sort(out_.begin_tokens);
  for (RuleId rule = 0; rule < rules_.rules(); ++rule) {
    nodes_.clear();
    tails_.clear();
    const uint32_t start = AddNode();
    const uint32_t end = TRY(Emit(rules_.body(rule), start));
    Append(rule, TRY(Determinize(start, end)), nullptr);
  }
  TRY(CheckLeftRecursion());
  FindNeeds();
  Cut();
  if (out_.rules[out_.root].need > kMostDepth)
    return Fail(ErrorCode::kInvalid,
                "no text can satisfy the grammar: what it asks for contradicts itself or never "
                "ends");
  uint32_t check = 2166136261u;
  const auto mix = [&](uint32_t value) { check = (check ^ value) * 16777619u; };
  for (const auto& rule : out_.rules) mix(rule.start), mix(rule.least), mix(rule.most);
  for (const auto& s : out_.states) mix(s.edges), mix(s.calls), mix(s.final), mix(s.need);
  for (const auto& e : out_.edges_) mix(uint32_t{e.low} << 8 | e.high), mix(e.to);
  for (const auto& call : out_.calls_) mix(call.rule), mix(call.to);
  for (const auto& edge : out_.tokens_) mix(static_cast<uint32_t>(edge.token)), mix(edge.to);
  out_.check = check;
  return std::make_shared<const Automaton>(std::move(out_));
}

}  // namespace

uint64_t Automaton::bytes() const {
  return states.size() * sizeof(State) + edges_.size() * sizeof(Edge) +
         calls_.size() * sizeof(Call) + rules.size() * sizeof(Rule);
}

Result<std::shared_ptr<const Automaton>> Compile(const Rules& rules) {
  return Compiler(rules).Run();
}

}  // namespace exo::grammar
