// Everything that makes serving fast, switched on at random and together: prefixes that are reused,
// pages that run out, batches, chunks, drafts, adapters, threads and stages. Every row that a token
// is sampled from has the bits that an undisturbed model gives it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "backend/devices.h"
#include "backend/test_model.h"
#include "engine/lead.h"
#include "engine/local.h"
#include "engine/plan_window.h"
#include "engine/sampler.h"
#include "engine/stage_worker.h"
#include "engine/test_ids.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

using backend::DType;
using backend::Kind;
using backend::TestModel;

constexpr size_t kVocab = TestModel::kVocab;
constexpr uint32_t kContext = 700;
using Tokens = std::vector<TokenId>;
using Row = std::vector<float>;

struct Switches {
  uint32_t stages = 1;
  unsigned threads = 1;
  uint32_t chunk = 64;
  uint32_t spare_pages = 0;
  bool prefix_cache = true;
  bool speculate = true;
  bool guesses = false;  // drafts from outside, some of them right
  std::string Text() const {
    return fmt::format("stages {} threads {} chunk {} spare {} prefix {} speculate {} guesses {}",
                       stages, threads, chunk, spare_pages, prefix_cache, speculate, guesses);
  }
};

// A question, and what one undisturbed model of one stage answers.
struct Case {
  Tokens prompt;
  std::vector<wire::AdapterUse> adapters;
  uint64_t seed = 0;
  Tokens answer;
  std::map<uint32_t, Row> rows;  // logits by position of the token they were computed from
};

class ServingTest : public testing::TestWithParam<Kind> {
 protected:
  ServingTest()
      : model_(DType::kQ4_0, DType::kQ8_0, GetParam()),
        adapters_({model_.MakeAdapter("one.", DType::kF32, 4, 8),
                   model_.MakeAdapter("two.", DType::kF16, 9, 0)}) {}

  static wire::SamplerSettings SamplerOf(const Case& c) {
    return {.temperature = c.seed % 2 == 0 ? 0.0f : 0.6f, .seed = c.seed};
  }

  void Answer(LocalModel& model, Case& c, uint32_t most) {
    std::vector<backend::AdapterUse> uses;
    for (const auto& use : c.adapters) uses.push_back({use.adapter, use.scale});
    ASSERT_TRUE(model.Open(1, kContext, uses));
    Tokens tokens = c.prompt;
    Tokens next = c.prompt;
    while (c.answer.size() < most) {
      Row row(kVocab);
      const auto first = static_cast<uint32_t>(tokens.size() - next.size());
      ASSERT_TRUE(model.Append(1, first, next, 1, row));
      c.rows[static_cast<uint32_t>(tokens.size()) - 1] = row;
      const auto token = Sample(row, tokens, SamplerOf(c), tokens.size(), scratch_);
      ASSERT_TRUE(token) << token.error().message;
      c.answer.push_back(*token);
      tokens.push_back(*token);
      next = {*token};
    }
    model.Close(1);
  }

  // Questions that have beginnings in common and repeat themselves.
  std::vector<Case> MakeCases(Rng& rng) {
    auto backend = backend::MakeBackend({.threads = 1}).value();
    auto local = LocalModel::Load(*backend, model_.config, model_.tensors, model_.source,
                                  {.adapters = adapters_});
    EXPECT_TRUE(local);
    std::vector<Case> cases;
    for (int i = 0; i < 7; ++i) {
      Case c{.seed = rng.Below(1000)};
      if (!cases.empty() && rng.Below(4) != 0) {
        const Case& former = cases[rng.Below(cases.size())];
        c.prompt = former.prompt;
        c.adapters = former.adapters;
        if (rng.Below(2) == 0)
          c.prompt.insert(c.prompt.end(), former.answer.begin(), former.answer.end());
        if (rng.Below(3) == 0) c.prompt.resize(1 + rng.Below(c.prompt.size()));
      }
      if (rng.Below(3) == 0) {
        c.adapters.clear();
        for (uint32_t a = 0; a < 2; ++a) {
          if (rng.Below(2) == 0) c.adapters.push_back({a, rng.Below(2) == 0 ? 0.5f : -1.0f});
        }
      }
      c.prompt.resize(std::min<size_t>(c.prompt.size(), 400));
      const size_t more = 1 + rng.Below(rng.Below(2) == 0 ? 20 : 250);
      const uint64_t period = 1 + rng.Below(40);
      for (size_t k = 0; k < more; ++k)
        c.prompt.push_back(
            static_cast<TokenId>(rng.Below(3) == 0 ? rng.Below(kVocab) : k % period));
      // Answers that run into the next page.
      if (c.prompt.size() > 256 && rng.Below(2) == 0) c.prompt.resize(235 + rng.Below(20));
      Answer(**local, c, 1 + static_cast<uint32_t>(rng.Below(40)));
      cases.push_back(std::move(c));
    }
    return cases;
  }

  TestModel model_;
  std::vector<backend::StageAdapter> adapters_;
  SamplerScratch scratch_;
};

// A lead over stages in this process, as LeadLoop and StageLoop drive them.
class Serving {
 public:
  Serving(TestModel& model, const std::vector<backend::StageAdapter>& adapters,
          const Switches& switches)
      : switches_(switches),
        width_(model.config->width),
        backend_(backend::MakeBackend({.threads = switches.threads}).value()),
        plan_(PlanOf(switches)),
        lead_(OptionsOf(switches, plan_, *model.config)) {
    for (size_t i = 0; i < plan_.stages.size(); ++i) {
      auto compute = backend_->Load({.config = model.config,
                                     .tensors = model.tensors,
                                     .layer_begin = plan_.stages[i].layer_begin,
                                     .layer_end = plan_.stages[i].layer_end,
                                     .lead = i == 0,
                                     .chunk = switches.chunk,
                                     .adapters = adapters},
                                    model.source, {}, nullptr);
      EXPECT_TRUE(compute) << compute.error().message;
      stages_.push_back(std::make_unique<StageWorker>(model.config, std::move(*compute)));
      stages_.back()->Bind(plan_);
    }
    cancelled_ = std::vector<CancellationSet>(stages_.size());
  }

  LeadMachine& lead() { return lead_; }

  // The step's output rows, and the step as it comes back.
  std::vector<Row> Compute(const LeadStep& step, wire::Step& wire) {
    wire = ToWire({}, step);
    Tokens tokens;
    for (const LeadItem& item : step.items)
      tokens.insert(tokens.end(), item.tokens.begin(), item.tokens.end());
    std::vector<float> hidden;
    for (size_t i = 0; i < stages_.size(); ++i) {
      const bool last = i + 1 == stages_.size();
      StageWorker::Input input{.wanted =
                                   last ? backend::Wanted::kOutput : backend::Wanted::kHidden};
      if (i == 0) input.tokens = tokens;
      if (i > 0) input.hidden = hidden;
      const auto done = stages_[i]->Run(wire, input, cancelled_[i]);
      EXPECT_TRUE(done) << done.error().message;
      const auto rows = stages_[i]->hidden();
      hidden.assign(rows.begin(), rows.end());
    }
    return Logits(hidden);
  }

 private:
  static uint32_t PagesOf(const Switches& switches) {
    return static_cast<uint32_t>(wire::PagesOf(kContext)) + switches.spare_pages;
  }
  static wire::Plan PlanOf(const Switches& switches) {
    wire::Plan plan{.layers = 5,
                    .context = kContext,
                    .kv_pages = PagesOf(switches),
                    .chunk = switches.chunk,
                    .adapters = std::vector<wire::AdapterRef>(2)};
    const std::vector<std::vector<uint32_t>> cuts = {{0, 5}, {0, 2, 5}, {0, 1, 4, 5}};
    const std::vector<uint32_t>& ends = cuts[switches.stages - 1];
    for (size_t i = 0; i + 1 < ends.size(); ++i)
      plan.stages.push_back({.layer_begin = ends[i], .layer_end = ends[i + 1]});
    return plan;
  }
  static LeadOptions OptionsOf(const Switches& switches, const wire::Plan& plan,
                               const model::ModelConfig& config) {
    return {.stages = switches.stages,
            .context = kContext,
            .pages = plan.kv_pages,
            .window = WindowOf(plan, config),
            .least_shared = 4,
            .chunk = switches.chunk,
            .adapters = 2,
            .prefix_cache = switches.prefix_cache,
            .speculate = switches.speculate};
  }
  std::vector<Row> Logits(std::span<const float> hidden) {
    std::vector<uint32_t> all;
    for (uint32_t i = 0; i < hidden.size() / width_; ++i) all.push_back(i);
    std::vector<Row> rows;
    if (all.empty()) return rows;
    const auto running = stages_[0]->compute().Run(
        {.hidden = hidden, .output_rows = all, .wanted = backend::Wanted::kLogits});
    EXPECT_TRUE(running && (*running)->Wait());
    for (size_t i = 0; i < all.size(); ++i) {
      const auto row = (*running)->Logits(i, 1, backend::kAllLogits);
      rows.emplace_back(row->begin(), row->end());
    }
    return rows;
  }

  const Switches switches_;
  const size_t width_;
  std::unique_ptr<backend::Backend> backend_;
  std::vector<std::unique_ptr<StageWorker>> stages_;
  std::vector<CancellationSet> cancelled_;
  const wire::Plan plan_;
  LeadMachine lead_;
};

// Submits the cases at random moments, computes until all are answered, and compares.
class Session {
 public:
  Session(Serving& serving, const std::vector<Case>& cases, Rng& rng, bool guesses)
      : serving_(serving), cases_(cases), rng_(rng), guesses_(guesses) {}

  void All(const std::function<wire::SamplerSettings(const Case&)>& sampler) {
    size_t submitted = 0;
    for (Time now{1}; answers_.size() < cases_.size() || Unfinished(); ++now) {
      ASSERT_LT(now.count(), 20000) << "it does not end";
      while (submitted < cases_.size() && rng_.Below(submitted == 0 ? 1 : 2) == 0) {
        const Case& c = cases_[submitted];
        ASSERT_TRUE(
            serving_.lead().Submit({.request = Id(static_cast<uint8_t>(++submitted)),
                                    .prompt = c.prompt,
                                    .prompt_tokens = static_cast<uint32_t>(c.prompt.size()),
                                    .max_new_tokens = static_cast<uint32_t>(c.answer.size()),
                                    .sampler = sampler(c),
                                    .adapters = c.adapters},
                                   now));
        answers_[Id(static_cast<uint8_t>(submitted))];
      }
      if (guesses_) GuessAll();
      // Steps return in the order in which they were sent, some time after.
      if (auto step = serving_.lead().NextStep(now)) {
        in_flight_.push_back({*step, {}, {}});
        in_flight_.back().rows = serving_.Compute(*step, in_flight_.back().done);
      } else if (in_flight_.empty() && submitted == cases_.size()) {
        break;
      }
      if (!in_flight_.empty() && rng_.Below(2) == 0) Return(now);
      if (testing::Test::HasFatalFailure()) return;
    }
    while (!in_flight_.empty()) Return(Time{30000});
    for (size_t i = 0; i < cases_.size(); ++i)
      EXPECT_EQ(answers_[Id(static_cast<uint8_t>(i + 1))], cases_[i].answer) << "case " << i;
  }
  size_t compared() const { return compared_; }

 private:
  struct Flight {
    LeadStep step;
    wire::Step done;
    std::vector<Row> rows;
  };
  const Case& CaseOf(const RequestId& id) const { return cases_[size_t{id.bytes[0]} - 1]; }
  bool Unfinished() const {
    return std::ranges::any_of(
        answers_, [&](const auto& a) { return a.second.size() < CaseOf(a.first).answer.size(); });
  }
  void GuessAll() {
    for (const auto& [id, answer] : answers_) {
      if (rng_.Below(2) == 0) continue;
      const Case& c = CaseOf(id);
      Tokens guess(c.answer.begin() + static_cast<std::ptrdiff_t>(answer.size()), c.answer.end());
      guess.resize(std::min<size_t>(guess.size(), 1 + rng_.Below(6)));
      if (!guess.empty() && rng_.Below(2) == 0) guess[rng_.Below(guess.size())] ^= 1;
      serving_.lead().Draft(id, guess);
    }
  }
  void Return(Time now) {
    const Flight flight = std::move(in_flight_.front());
    in_flight_.pop_front();
    std::vector<ItemOutput> outputs;
    size_t next = 0;
    for (const LeadItem& item : flight.step.items) {
      if (OutputRows(item) == 0) continue;
      const Case& c = CaseOf(item.request);
      ItemOutput output{item.request, {}};
      const size_t skipped = item.tokens.size() - OutputRows(item);
      bool stands = true;
      for (size_t i = skipped; i < item.tokens.size(); ++i, ++next) {
        const auto position = item.first + static_cast<uint32_t>(i);
        if (!stands) continue;  // behind a wrong draft
        const auto expected = c.rows.find(position);
        ASSERT_NE(expected, c.rows.end()) << position;
        ASSERT_LT(next, flight.rows.size());
        ASSERT_EQ(
            std::memcmp(flight.rows[next].data(), expected->second.data(), kVocab * sizeof(float)),
            0)
            << "request " << int{item.request.bytes[0]} << " at position " << position;
        ++compared_;
        output.tokens.push_back(c.answer[position + 1 - c.prompt.size()]);
        stands = i + 1 < item.tokens.size() && item.tokens[i + 1] == output.tokens.back();
      }
      outputs.push_back(std::move(output));
    }
    const auto emissions = serving_.lead().OnStepDone(flight.step.step, outputs, {}, now);
    ASSERT_TRUE(emissions) << emissions.error().message;
    for (const Emission& emission : *emissions) {
      Tokens& answer = answers_[emission.request];
      answer.insert(answer.end(), emission.tokens.begin(), emission.tokens.end());
    }
  }

  Serving& serving_;
  const std::vector<Case>& cases_;
  Rng& rng_;
  const bool guesses_;
  std::deque<Flight> in_flight_;
  std::map<RequestId, Tokens> answers_;
  size_t compared_ = 0;
};

TEST_P(ServingTest, EverySwitchGivesTheBitsOfAnUndisturbedModel) {
  LeadStats sum;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    Rng rng(seed, static_cast<uint64_t>(GetParam()));
    const std::vector<Case> cases = MakeCases(rng);
    const Switches switches = {.stages = 1 + static_cast<uint32_t>(rng.Below(3)),
                               .threads = 1 + static_cast<unsigned>(rng.Below(3)),
                               .chunk = std::vector<uint32_t>{7, 16, 33, 64, 256}[rng.Below(5)],
                               .spare_pages = static_cast<uint32_t>(rng.Below(2)),
                               .prefix_cache = rng.Below(4) != 0,
                               .speculate = rng.Below(4) != 0,
                               .guesses = rng.Below(2) == 0};
    SCOPED_TRACE(fmt::format("seed {}: {}", seed, switches.Text()));
    Serving serving(model_, adapters_, switches);
    Session run(serving, cases, rng, switches.guesses);
    run.All(SamplerOf);
    if (HasFatalFailure()) return;
    size_t tokens = 0;
    for (const Case& c : cases) tokens += c.answer.size();
    EXPECT_GE(run.compared(), tokens);
    const LeadStats& stats = serving.lead().stats();
    sum.put_back += stats.put_back;
    sum.cached_rows += stats.cached_rows;
    sum.drafted_rows += stats.drafted_rows;
    sum.accepted_drafts += stats.accepted_drafts;
  }
  // A switch that never did anything would prove nothing.
  EXPECT_GT(sum.put_back, 0u);
  EXPECT_GT(sum.cached_rows, 500u);
  EXPECT_GT(sum.accepted_drafts, 20u);
  EXPECT_GT(sum.drafted_rows, sum.accepted_drafts);
}

INSTANTIATE_TEST_SUITE_P(Kinds, ServingTest,
                         testing::Values(Kind::kLlama, Kind::kExperts, Kind::kGemma));

}  // namespace
}  // namespace exo::engine
