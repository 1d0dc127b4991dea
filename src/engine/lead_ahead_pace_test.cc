// What verify windows ahead gain, and never lose, on texts of several kinds: LeadMachine over
// pipelines in virtual time.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <string>

#include "base/random.h"
#include "engine/lead.h"
#include "engine/test_ids.h"

namespace exo::engine {
namespace {

using Tokens = std::vector<TokenId>;

// Seconds.
struct Pipeline {
  std::vector<double> stages;  // a step of one row
  double link = 0;
  double row = 0.05;       // a further row's part of that
  double output = 0.0001;  // output matrix and sampling of a row, at the lead
};

struct Measured {
  double seconds = 0;
  LeadStats stats;
};

// One answer that says `text` behind its first `prompt` tokens.
class Clock {
 public:
  Clock(const Pipeline& pipeline, const Tokens& text, uint32_t prompt, bool speculate,
        uint32_t windows)
      : pipeline_(pipeline),
        text_(text),
        lead_({.stages = static_cast<uint32_t>(pipeline.stages.size()),
               .context = 4096,
               .pages = 16,
               .prefix_cache = false,
               .speculate = speculate,
               .windows = windows}),
        free_(pipeline.stages.size()) {
    EXPECT_TRUE(lead_.Submit({.request = Id(1),
                              .prompt = {text.begin(), text.begin() + prompt},
                              .prompt_tokens = prompt,
                              .max_new_tokens = static_cast<uint32_t>(text.size()) - prompt},
                             Time{}));
  }

  Measured Finish() {
    double first = 0;
    while (!done_) {
      if (const auto step = lead_.NextStep(At(now_))) {
        Send(*step);
        while (!back_.empty() && back_.front().at <= now_) Take();
      } else {
        EXPECT_FALSE(back_.empty());
        now_ = std::max(now_, back_.front().at);
        Take();
      }
      if (first == 0 && known_ > 0) first = now_;
    }
    return {now_ - first, lead_.stats()};
  }

 private:
  struct Back {
    double at = 0;
    uint64_t step = 0;
    std::vector<wire::StageTime> times;
  };
  static Time At(double seconds) { return Time{static_cast<int64_t>(seconds * 1e9)}; }

  // The lead's part, then the others', each when the step is there and the stage is free.
  void Send(const LeadStep& step) {
    if (step.items.empty()) {
      back_.push_back({now_, step.step, {}});
      return;
    }
    Back back{.at = now_, .step = step.step, .times = {}};
    for (size_t i = 0; i < pipeline_.stages.size(); ++i) {
      const double spent = pipeline_.stages[i] * (1 + pipeline_.row * (step.rows - 1));
      const double begin = std::max(back.at, free_[i]);
      free_[i] = begin + spent;
      back.times.push_back({.layer_begin = static_cast<uint32_t>(i),
                            .microseconds = static_cast<uint64_t>(spent * 1e6)});
      if (i == 0) now_ = free_[0];
      back.at = free_[i] + pipeline_.link;
    }
    back_.push_back(std::move(back));
  }

  void Take() {
    Back back = std::move(back_.front());
    back_.pop_front();
    const LeadStep step = *lead_.InFlight(back.step);
    std::vector<ItemOutput> outputs;
    for (const LeadItem& item : step.items) {
      if (item.outputs == Outputs::kNone) continue;
      ItemOutput output{.request = item.request, .tokens = {}};
      const size_t skipped = item.tokens.size() - OutputRows(item);
      for (size_t row = skipped; row < item.tokens.size(); ++row) {
        output.tokens.push_back(text_[std::min(item.first + row + 1, text_.size() - 1)]);
        if (row + 1 < item.tokens.size() && output.tokens.back() != item.tokens[row + 1]) break;
      }
      if (!lead_.IsStale(step.step, outputs.size()))
        now_ += pipeline_.output * static_cast<double>(output.tokens.size());
      outputs.push_back(std::move(output));
    }
    free_[0] = std::max(free_[0], now_);
    const auto emissions = lead_.OnStepDone(step.step, outputs, back.times, At(now_));
    ASSERT_TRUE(emissions) << emissions.error().message;
    for (const Emission& emission : *emissions) {
      known_ += emission.tokens.size();
      done_ |= emission.finished.has_value();
    }
  }

  const Pipeline& pipeline_;
  const Tokens& text_;
  LeadMachine lead_;
  std::vector<double> free_;  // of each stage: when it is done with what it has
  std::deque<Back> back_;
  double now_ = 0;
  size_t known_ = 0;
  bool done_ = false;
};

Measured Answer(const Pipeline& pipeline, const Tokens& text, bool speculate,
                uint32_t windows = 16) {
  return Clock(pipeline, text, 100, speculate, windows).Finish();
}

// `count` tokens, each one of the two that may follow the two before it: the likelier one with
// `chance`.
Tokens Chat(size_t count, double chance, uint64_t seed) {
  Rng rng(seed);
  Tokens text = {1, 2};
  while (text.size() < count) {
    const auto a = static_cast<uint64_t>(text[text.size() - 2]);
    const auto b = static_cast<uint64_t>(text.back());
    Rng next(a * 1000 + b);
    const uint64_t likely = next.Below(300), other = next.Below(300);
    text.push_back(static_cast<TokenId>(rng.Uniform() < chance ? likely : other));
  }
  return text;
}

Tokens Repeating(size_t count) {
  Rng rng(1);
  Tokens text;
  for (size_t i = 0; i < count; ++i)
    text.push_back(i < 80 ? static_cast<TokenId>(rng.Below(1000)) : text[i - 80]);
  return text;
}

// What occurred before is followed by something else every time.
Tokens Misleading(size_t count) {
  Tokens text;
  for (TokenId next = 10; text.size() < count; ++next) {
    for (const TokenId token : {1, 2, 3, next}) text.push_back(token);
  }
  text.resize(count);
  return text;
}

const std::vector<Pipeline> kPipelines = {
    {.stages = {0.001, 0.001}, .link = 0.005},
    {.stages = {0.010, 0.010}, .link = 0.005},
    {.stages = {0.010, 0.010, 0.010}, .link = 0.005},
    {.stages = {0.005, 0.030}, .link = 0.005},
    {.stages = {0.030, 0.005}, .link = 0.0001},
    {.stages = {0.020, 0.020}, .link = 0.0001, .row = 0.3},
};

TEST(LeadAheadPaceTest, ATextThatRepeatsIsTwiceAsFastAtLeast) {
  for (const Pipeline& pipeline : kPipelines) {
    const Tokens text = Repeating(900);
    const double plain = Answer(pipeline, text, false).seconds;
    const double one = Answer(pipeline, text, true, 1).seconds;
    const Measured ahead = Answer(pipeline, text, true);
    EXPECT_GT(plain / ahead.seconds, 2.0);
    EXPECT_GT(one / ahead.seconds, 0.99);
  }
  const Pipeline& far = kPipelines[0];  // links are what a token waits for
  const Tokens text = Repeating(900);
  EXPECT_GT(Answer(far, text, true, 1).seconds / Answer(far, text, true).seconds, 3.0);
}

TEST(LeadAheadPaceTest, NoTextIsSlowerThanPlain) {
  const std::map<std::string, Tokens> texts = {{"chat .5", Chat(900, 0.5, 1)},
                                               {"chat .7", Chat(900, 0.7, 2)},
                                               {"chat .9", Chat(900, 0.9, 3)},
                                               {"misleading", Misleading(900)}};
  for (const Pipeline& pipeline : kPipelines) {
    for (const auto& [name, text] : texts) {
      const double plain = Answer(pipeline, text, false).seconds;
      const Measured ahead = Answer(pipeline, text, true);
      EXPECT_GT(plain / ahead.seconds, 0.97)
          << name << " over " << pipeline.stages.size() << " stages";
    }
  }
}

}  // namespace
}  // namespace exo::engine
