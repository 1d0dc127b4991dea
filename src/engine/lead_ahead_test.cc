// Verify windows ahead: LeadMachine over a pipeline of StageMachines with random delays, guesses,
// notices of what is stale, and losses. Every answer is that of plain decoding.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>

#include "base/check.h"
#include "base/random.h"
#include "engine/cancellation_set.h"
#include "engine/lead.h"
#include "engine/stage.h"
#include "engine/test_ids.h"

namespace exo::engine {
namespace {

using Tokens = std::vector<TokenId>;

LeadOptions Options(uint32_t stages) {
  return {.stages = stages,
          .context = 128,
          .pages = 64,
          .page = 8,
          .chunk = 8,
          .prefix_cache = false,
          .speculate = false};
}

wire::Submit Ask(uint8_t number, size_t prompt, uint32_t most) {
  return {.request = Id(number),
          .prompt = Tokens(prompt, 7),
          .prompt_tokens = static_cast<uint32_t>(prompt),
          .max_new_tokens = most};
}

std::vector<Emission> Answer(LeadMachine& lead, const LeadStep& step, Tokens tokens) {
  const std::vector<ItemOutput> outputs = {{step.items[0].request, std::move(tokens)}};
  auto emissions = lead.OnStepDone(step.step, outputs, {}, Time{1});
  EXPECT_TRUE(emissions) << emissions.error().message;
  return emissions ? *std::move(emissions) : std::vector<Emission>{};
}

// A request of `most` tokens that has the first one, 5.
void Begin(LeadMachine& lead, uint32_t most) {
  ASSERT_TRUE(lead.Submit(Ask(1, 3, most), Time{}));
  Answer(lead, *lead.NextStep(Time{}), {5});
}

TEST(LeadAheadTest, WindowsFollowEachOtherWithoutWaiting) {
  LeadMachine lead(Options(2));
  Begin(lead, 20);
  lead.Draft(Id(1), {6, 7, 8, 9, 10}, 2);
  const auto first = lead.NextStep(Time{});
  EXPECT_EQ(first->items[0].tokens, (Tokens{5, 6, 7}));
  const auto second = lead.NextStep(Time{});
  ASSERT_TRUE(second) << "8 is the guess of the token behind the first window";
  EXPECT_EQ(second->items[0].first, 6u);
  EXPECT_EQ(second->items[0].tokens, (Tokens{8, 9}));
  EXPECT_EQ(second->outputs, 2u);
  const auto third = lead.NextStep(Time{});
  EXPECT_EQ(third->items[0].tokens, Tokens{10});
  EXPECT_FALSE(lead.NextStep(Time{})) << "there are no more guesses";
  EXPECT_EQ(Answer(lead, *first, {6, 7, 8})[0].tokens, (Tokens{6, 7, 8}));
  EXPECT_EQ(Answer(lead, *second, {9, 10})[0].tokens, (Tokens{9, 10}));
  EXPECT_EQ(Answer(lead, *third, {11})[0].tokens, Tokens{11});
  const auto next = lead.NextStep(Time{});
  EXPECT_TRUE(next->truncate.empty());
  EXPECT_EQ(next->items[0].first, 9u);
  EXPECT_EQ(next->items[0].tokens, Tokens{11});
  EXPECT_TRUE(lead.TakeStale().empty());
  EXPECT_EQ(lead.stats().windows_ahead, 2u);
  EXPECT_EQ(lead.stats().drafted_rows, 5u);
  EXPECT_EQ(lead.stats().accepted_drafts, 5u);
}

TEST(LeadAheadTest, ARefutedGuessMakesLaterWindowsStale) {
  for (const bool in_window : {true, false}) {
    LeadMachine lead(Options(2));
    Begin(lead, 20);
    lead.Draft(Id(1), {6, 7, 8, 9, 10}, 2);
    const auto first = lead.NextStep(Time{}), second = lead.NextStep(Time{}),
               third = lead.NextStep(Time{});
    // The second draft is wrong, or only the token behind the window.
    const Tokens known = in_window ? Tokens{6, 4} : Tokens{6, 7, 4};
    EXPECT_EQ(Answer(lead, *first, known)[0].tokens, known);
    EXPECT_EQ(lead.TakeStale(), (std::vector<wire::StaleRows>{{{}, Id(1), third->step}}));
    const auto next = lead.NextStep(Time{});
    ASSERT_TRUE(next) << "nothing in flight is worth waiting for";
    const auto length = static_cast<uint32_t>(3 + known.size());
    EXPECT_EQ(next->truncate, (std::vector<wire::StepTruncate>{{Id(1), length}}));
    EXPECT_EQ(next->items[0].first, length);
    EXPECT_EQ(next->items[0].tokens, Tokens{4});
    EXPECT_TRUE(lead.IsStale(second->step, 0));
    EXPECT_FALSE(lead.Awaits(third->step));
    EXPECT_TRUE(lead.Awaits(next->step));
    EXPECT_TRUE(Answer(lead, *second, {9, 10}).empty());
    // A stage may have left the other one out.
    const std::vector<RequestId> given_up = {Id(1)};
    EXPECT_TRUE(lead.OnStepDone(third->step, {}, {}, Time{}, given_up)->empty());
    EXPECT_EQ(Answer(lead, *next, {3})[0].tokens, Tokens{3});
    EXPECT_EQ(lead.stats().stale_windows, 2u);
  }
}

TEST(LeadAheadTest, AnAnswerEndsInTheMiddleOfItsWindows) {
  LeadMachine lead(Options(2));
  wire::Submit submit = Ask(1, 3, 20);
  submit.stop_tokens = {7};
  ASSERT_TRUE(lead.Submit(submit, Time{}));
  Answer(lead, *lead.NextStep(Time{}), {5});
  lead.Draft(Id(1), {6, 7, 8, 9, 10}, 2);
  const auto first = lead.NextStep(Time{}), second = lead.NextStep(Time{});
  const auto emissions = Answer(lead, *first, {6, 7, 8});
  EXPECT_EQ(emissions[0].tokens, Tokens{6});
  ASSERT_TRUE(emissions[0].finished);
  EXPECT_EQ(lead.TakeStale().size(), 1u);
  EXPECT_EQ(lead.NextStep(Time{})->close, std::vector<RequestId>{Id(1)});
  EXPECT_TRUE(Answer(lead, *second, {9, 10}).empty());
}

TEST(LeadAheadTest, WindowsStayWithinTheirNumberAndTheAnswer) {
  LeadOptions options = Options(2);
  options.windows = 2;
  LeadMachine two(options);
  Begin(two, 20);
  two.Draft(Id(1), {6, 7, 8}, 1);
  const auto first = two.NextStep(Time{});
  EXPECT_TRUE(two.NextStep(Time{}));
  EXPECT_FALSE(two.NextStep(Time{})) << "two windows are in flight";
  Answer(two, *first, {6, 7});
  EXPECT_EQ(two.NextStep(Time{})->items[0].tokens, Tokens{8});
  options.windows = 1;
  LeadMachine plain(options);
  Begin(plain, 20);
  plain.Draft(Id(1), {6, 7, 8}, 1);
  EXPECT_TRUE(plain.NextStep(Time{}));
  EXPECT_FALSE(plain.NextStep(Time{}));
  LeadMachine ending(Options(2));
  Begin(ending, 5);
  ending.Draft(Id(1), {6, 7, 8, 9}, 1);
  EXPECT_EQ(ending.NextStep(Time{})->rows, 2u);
  EXPECT_EQ(ending.NextStep(Time{})->items[0].tokens, Tokens{7});
  EXPECT_EQ(ending.NextStep(Time{})->items[0].tokens, Tokens{8});
  EXPECT_FALSE(ending.NextStep(Time{})) << "the last token needs no draft";
  LeadMachine alone(Options(1));
  Begin(alone, 20);
  alone.Draft(Id(1), {6, 7, 8}, 1);
  EXPECT_TRUE(alone.NextStep(Time{}));
  EXPECT_FALSE(alone.NextStep(Time{})) << "one stage has nothing to do in between";
}

// The token behind `text`, as if it were sampled with `seed`: it repeats itself sooner or later.
TokenId Oracle(const Tokens& text, uint64_t seed) {
  const auto last = static_cast<uint64_t>(text.back());
  const auto before = static_cast<uint64_t>(text[text.size() - 2]);
  return static_cast<TokenId>((last * 7 + before * 3 + seed) % 11);
}

Tokens AnswerOf(Tokens text, size_t count, uint64_t seed) {
  const size_t prompt = text.size();
  while (text.size() < prompt + count) text.push_back(Oracle(text, seed));
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt), text.end()};
}

// A stage whose KV is the text itself.
class FakeStage {
 public:
  explicit FakeStage(const StageOptions& options) : machine_(options) {}

  // Computes `step`, whose rows are tokens, unless all of them are stale; returns the output rows'
  // texts.
  std::vector<Tokens> Run(wire::Step& step, Tokens& rows) {
    const auto work = machine_.BeginStep(step);
    EXPECT_TRUE(work) << work.error().message;
    if (!work) return {};
    for (const RequestId& request : step.close) stale_.Forget(request);
    for (const wire::StepTruncate& cut : step.truncate) stale_.Forget(cut.request);
    for (const uint64_t sequence : work->close) texts_.erase(sequence);
    for (const auto& cut : work->truncate) texts_[cut.sequence].resize(cut.length);
    for (const auto& fork : work->fork) {
      texts_[fork.to] = texts_[fork.from];
      texts_[fork.to].resize(fork.length);
    }
    std::vector<RequestId> running;
    for (const wire::StepItem& item : step.items) running.push_back(item.request);
    stale_.Begin(step.step, std::move(running));
    const bool stop = stale_.stop()->load();
    stale_.End();
    for (const uint32_t item : work->cancelled) step.items[item].cancelled = true;
    if (stop) {
      ++dropped;
      for (wire::StepItem& item : step.items) item.cancelled = true;
      for (const auto& cut : machine_.CancelStep()) texts_[cut.sequence].resize(cut.length);
      rows.clear();
      return {};
    }
    Tokens on;
    std::vector<Tokens> read;
    for (const auto& segment : work->segments) {
      Tokens& text = texts_[segment.sequence];
      EXPECT_EQ(text.size(), segment.first);
      for (uint32_t i = 0; i < segment.count; ++i) {
        text.push_back(rows[segment.row + i]);
        on.push_back(text.back());
        read.push_back(text);
      }
    }
    machine_.CommitStep();
    rows = std::move(on);
    std::vector<Tokens> outputs;
    for (const uint32_t row : work->output_rows) outputs.push_back(read[row]);
    return outputs;
  }
  void Tell(const wire::StaleRows& stale) { stale_.AddThrough(stale.request, stale.through_step); }

  uint32_t dropped = 0;  // steps

 private:
  StageMachine machine_;
  CancellationSet stale_;
  std::map<uint64_t, Tokens> texts_;
};

// One plan: a lead and its stages, whose links take any time but keep the order.
class FakePipeline {
 public:
  FakePipeline(uint32_t stages, bool windowed, Rng& rng) : rng_(rng) {
    LeadOptions options = Options(stages);
    options.speculate = rng.Below(2) == 0;
    options.prefix_cache = rng.Below(2) == 0;
    options.pages = 16 + rng.Below(48);
    if (windowed) {
      options.window = {.positions = 5 + static_cast<uint32_t>(rng.Below(20)), .most = 6};
      options.window.pages = 6 * 16;
      options.window.stages.assign(stages, {.all = 2, .windowed = 2});
    }
    lead_ = std::make_unique<LeadMachine>(options);
    for (uint32_t i = 0; i < stages; ++i)
      stages_.push_back(std::make_unique<FakeStage>(StageOptions{.context = options.context,
                                                                 .pages = options.pages,
                                                                 .window = options.window,
                                                                 .page = options.page,
                                                                 .chunk = options.chunk}));
    links_.resize(stages);
  }

  struct Frame {
    wire::Step step;
    Tokens rows;
    std::vector<Tokens> outputs;
  };

  // Something happens; what it brought.
  std::vector<Emission> Tick(const std::map<RequestId, uint64_t>& seeds) {
    now_ += std::chrono::milliseconds(5);
    Notice();
    const size_t at = rng_.Below(links_.size() + 1);
    if (at == links_.size()) {
      Send();
    } else if (!links_[at].empty()) {
      Frame frame = std::move(links_[at].front());
      links_[at].pop_front();
      if (at + 1 == links_.size()) return Return(frame, seeds);
      Compute(at + 1, std::move(frame));
    }
    return {};
  }
  LeadMachine& lead() { return *lead_; }
  Time now() const { return now_; }
  uint32_t dropped() const {
    uint32_t sum = 0;
    for (const auto& stage : stages_) sum += stage->dropped;
    return sum;
  }

 private:
  void Send() {
    const auto step = lead_->NextStep(now_);
    if (!step) return;
    Frame frame{.step = ToWire({}, *step), .rows = {}, .outputs = {}};
    for (const LeadItem& item : step->items)
      frame.rows.insert(frame.rows.end(), item.tokens.begin(), item.tokens.end());
    Compute(0, std::move(frame));
  }
  void Compute(size_t stage, Frame frame) {
    frame.outputs = stages_[stage]->Run(frame.step, frame.rows);
    frame.step.times.push_back({.layer_begin = static_cast<uint32_t>(stage), .microseconds = 900});
    links_[stage].push_back(std::move(frame));
  }
  std::vector<Emission> Return(const Frame& frame, const std::map<RequestId, uint64_t>& seeds) {
    std::vector<RequestId> given_up;
    for (const wire::StepItem& item : frame.step.items) {
      if (item.cancelled) given_up.push_back(item.request);
    }
    std::vector<ItemOutput> outputs;
    const LeadStep step = *lead_->InFlight(frame.step.step);
    size_t row = 0;
    for (const LeadItem& item : step.items) {
      const uint32_t count = OutputRows(item);
      if (count == 0 || std::ranges::find(given_up, item.request) != given_up.end()) continue;
      ItemOutput output{.request = item.request, .tokens = {}};
      const size_t skipped = item.tokens.size() - count;
      for (uint32_t i = 0; i < count; ++i) {
        output.tokens.push_back(Oracle(frame.outputs[row + i], seeds.at(item.request)));
        const size_t next = skipped + i + 1;
        if (next < item.tokens.size() && output.tokens.back() != item.tokens[next]) break;
      }
      row += count;
      outputs.push_back(std::move(output));
    }
    auto emissions = lead_->OnStepDone(step.step, outputs, frame.step.times, now_, given_up);
    EXPECT_TRUE(emissions) << emissions.error().message;
    for (const wire::StaleRows& stale : lead_->TakeStale()) {
      for (size_t i = 1; i < stages_.size(); ++i) notices_.emplace_back(i, stale);
    }
    return emissions ? *std::move(emissions) : std::vector<Emission>{};
  }
  // Of what is stale a stage hears some time, or never.
  void Notice() {
    while (!notices_.empty() && rng_.Below(3) == 0) {
      const auto [stage, stale] = notices_.front();
      notices_.pop_front();
      if (rng_.Below(4) != 0) stages_[stage]->Tell(stale);
    }
  }

  Rng& rng_;
  std::unique_ptr<LeadMachine> lead_;
  std::vector<std::unique_ptr<FakeStage>> stages_;
  std::vector<std::deque<Frame>> links_;  // behind each stage
  std::deque<std::pair<size_t, wire::StaleRows>> notices_;
  Time now_{};
};

struct Asked {
  wire::Submit submit;
  uint64_t seed = 0;
  Tokens answer;
  bool done = false;
};

// What may come next, right or wrong, in windows of random widths.
void Guess(LeadMachine& lead, const Asked& asked, Rng& rng) {
  if (rng.Below(4) == 0) return;  // its own text may suggest something
  Tokens text = asked.submit.prompt;
  text.insert(text.end(), asked.answer.begin(), asked.answer.end());
  Tokens guess = AnswerOf(text, rng.Below(20), asked.seed);
  if (!guess.empty() && rng.Below(2) == 0) ++guess[rng.Below(guess.size())];
  lead.Draft(asked.submit.request, guess, 1 + static_cast<uint32_t>(rng.Below(4)));
}

struct Outcome {
  uint64_t ahead = 0, stale = 0, dropped = 0;
};

// Some requests, and a pipeline that is lost now and then, with windows on their way.
Outcome RunOnce(uint64_t seed) {
  Rng rng(seed);
  std::map<RequestId, Asked> all;
  std::map<RequestId, uint64_t> seeds;
  for (uint8_t i = 1; i <= 1 + rng.Below(4); ++i) {
    Asked asked{.submit = Ask(i, 2 + rng.Below(20), 20 + static_cast<uint32_t>(rng.Below(60))),
                .seed = rng.Below(50)};
    seeds[asked.submit.request] = asked.seed;
    all[asked.submit.request] = std::move(asked);
  }
  Outcome outcome;
  const auto stages = 2 + static_cast<uint32_t>(rng.Below(3));
  const bool windowed = rng.Below(3) == 0;
  const auto running = [&] {
    return std::ranges::any_of(all, [](const auto& each) { return !each.second.done; });
  };
  while (running()) {
    FakePipeline pipeline(stages, windowed, rng);
    for (auto& [id, asked] : all) {
      if (asked.done) continue;
      wire::Submit again = asked.submit;  // behind the tokens that are known
      again.prompt.insert(again.prompt.end(), asked.answer.begin(), asked.answer.end());
      EXPECT_TRUE(pipeline.lead().Submit(again, Time{}));
    }
    const uint64_t life = rng.Below(3) == 0 ? rng.Below(400) : 100'000;
    for (uint64_t i = 0; i < life && running() && !testing::Test::HasFailure(); ++i) {
      for (const Emission& emission : pipeline.Tick(seeds)) {
        Asked& asked = all.at(emission.request);
        asked.answer.insert(asked.answer.end(), emission.tokens.begin(), emission.tokens.end());
        asked.done = emission.finished.has_value();
        if (!asked.done) Guess(pipeline.lead(), asked, rng);
      }
    }
    outcome.ahead += pipeline.lead().stats().windows_ahead;
    outcome.stale += pipeline.lead().stats().stale_windows;
    outcome.dropped += pipeline.dropped();
    if (testing::Test::HasFailure()) break;
  }
  for (const auto& [id, asked] : all)
    EXPECT_EQ(asked.answer, AnswerOf(asked.submit.prompt, asked.submit.max_new_tokens, asked.seed));
  return outcome;
}

TEST(LeadAheadTest, EveryAnswerIsThatOfPlainDecoding) {
  Outcome all;
  for (uint64_t seed = 1; seed <= 200 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const Outcome one = RunOnce(seed);
    all.ahead += one.ahead;
    all.stale += one.stale;
    all.dropped += one.dropped;
  }
  EXPECT_GT(all.ahead, 2000u);
  EXPECT_GT(all.stale, 500u);
  EXPECT_GT(all.dropped, 20u) << "stages leave out what is stale";
}

}  // namespace
}  // namespace exo::engine
