// A whole instance of up to four stages in this process, for tests: the engine's threads over the
// real CPU backend, with fake links and a model in memory.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/devices.h"
#include "backend/test_model.h"
#include "base/mutex.h"
#include "base/units.h"
#include "engine/coded_rows.h"
#include "engine/local.h"
#include "engine/runner.h"
#include "engine/test_ids.h"
#include "engine/test_link.h"
#include "engine/test_page_store.h"
#include "engine/test_tokenizer.h"
#include "wire/plan.h"

namespace exo::engine {

using backend::DType;
using backend::Kind;
using backend::TestModel;

constexpr Time kPatience = std::chrono::seconds(60);

inline NodeId Node(uint8_t number) {
  NodeId id;
  id.bytes[0] = number;
  return id;
}
class SourceView final : public backend::TensorSource {
 public:
  explicit SourceView(backend::TensorSource& source) : source_(source) {}
  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    return source_.Read(tensor, offset, bytes);
  }
  void Done(const model::TensorRef&, uint64_t, uint64_t) override {}

 private:
  backend::TensorSource& source_;
};

// A model in memory; counts how often a stage was fetched.
class MemoryStages final : public StageSource {
 public:
  MemoryStages(TestModel& model, std::atomic<int>& loads) : model_(model), loads_(loads) {}
  Result<ModelParts> Describe(const std::atomic<bool>*) override {
    return ModelParts{model_.config, model_.tensors};
  }
  Result<std::unique_ptr<backend::TensorSource>> Fetch(const backend::StageSpec&, const Progress&,
                                                       const std::atomic<bool>*) override {
    ++loads_;
    return std::make_unique<SourceView>(model_.source);
  }
  Result<std::shared_ptr<const model::Tokenizer>> Tokenizer(const std::atomic<bool>*) override {
    return std::make_shared<const TestTokenizer>(TestModel::kVocab);
  }

 private:
  TestModel& model_;
  std::atomic<int>& loads_;
};

// What the runners' threads report, for a test to wait on.
struct Reports {
  Mutex mutex;
  CondVar changed;
  int loaded = 0;
  std::map<RequestId, std::vector<TokenId>> tokens;
  std::map<RequestId, wire::Logprobs> logprobs;
  std::map<RequestId, std::map<size_t, wire::SamplerState>> states;  // after so many tokens
  std::map<RequestId, uint32_t> cached;
  std::map<RequestId, uint32_t> computed;
  std::map<RequestId, wire::Finished> finished;
  std::vector<std::pair<Error, NodeId>> failures;
  int stale = 0;
  std::function<void(const wire::StaleRows&)> on_stale;  // what else is done with it

  RunnerEvents Events() {
    return {.on_progress = [](uint64_t, uint64_t) {},
            .on_loaded =
                [this](Result<void> result, uint64_t) {
                  EXPECT_TRUE(result) << result.error().message;
                  Change([&] { ++loaded; });
                },
            .on_failed =
                [this](Error error, NodeId lost) {
                  Change([&] { failures.emplace_back(std::move(error), lost); });
                },
            .on_tokens =
                [this](wire::Tokens more) {
                  Change([&] {
                    auto& all = tokens[more.request];
                    all.insert(all.end(), more.tokens.begin(), more.tokens.end());
                    Append(logprobs[more.request], more.logprobs);
                    states[more.request][all.size()] = more.state;
                    cached[more.request] = more.cached;
                    computed[more.request] = more.computed;
                  });
                },
            .on_queued = [](const RequestId&, uint32_t) {},
            .on_finished =
                [this](wire::Finished done) { Change([&] { finished[done.request] = done; }); },
            .on_stale =
                [this](const wire::StaleRows& rows) {
                  Change([&] {
                    ++stale;
                    if (on_stale) on_stale(rows);
                  });
                }};
  }
  void Clear() {
    const MutexLock lock(mutex);
    tokens.clear();
    logprobs.clear();
    states.clear();
    cached.clear();
    finished.clear();
  }
  void Change(const std::function<void()>& change) {
    const MutexLock lock(mutex);
    change();
    changed.NotifyAll();
  }
  bool Wait(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    const MutexLock lock(mutex);
    while (!done()) {
      if (!changed.WaitUntil(mutex, deadline)) return done();
    }
    return true;
  }
};

class RunnerTest : public testing::Test {
 protected:
  explicit RunnerTest(Kind kind = Kind::kLlama, const backend::TestHeads& heads = {})
      : model_(DType::kQ4_0, DType::kQ8_0, kind, heads) {}
  wire::Plan PlanOf(uint8_t number, size_t stages) const {
    wire::Plan plan{.model_name = "test", .layers = 5, .context = 256, .kv_pages = 2, .chunk = 16};
    plan.id.bytes[0] = number;
    for (size_t i = 0; i < stages; ++i) {
      plan.stages.push_back({.node = Node(static_cast<uint8_t>(i + 1)),
                             .layer_begin = i == 0 ? 0u : 2u,
                             .layer_end = i + 1 == stages ? 5u : 2u,
                             .bytes = 64 * kMiB});
    }
    return plan;
  }
  // Two shards: a KV head and an uneven part of the feed-forward block each.
  wire::Plan ShardedPlan(uint8_t number) const {
    wire::Plan plan = PlanOf(number, 2);
    for (wire::StagePlan& stage : plan.stages) {
      stage.layer_begin = 0;
      stage.layer_end = 5;
    }
    plan.stages[0].shard = {.kv_begin = 0,
                            .kv_end = 1,
                            .ffn_begin = 0,
                            .ffn_end = 384,
                            .vocab_begin = 0,
                            .vocab_end = 112};
    plan.stages[1].shard = {.kv_begin = 1,
                            .kv_end = 2,
                            .ffn_begin = 384,
                            .ffn_end = 512,
                            .vocab_begin = 112,
                            .vocab_end = model_.config->vocab};
    return plan;
  }
  void Start(const wire::Plan& plan) {
    plan_ = plan;
    reports_.loaded = 0;
    for (uint32_t i = 0; i < plan.stages.size(); ++i) {
      runners_.push_back(InstanceRunner::Start(*backend_, stores_[i],
                                               std::make_unique<MemoryStages>(model_, loads_),
                                               {.plan = plan,
                                                .stage = i,
                                                .self = plan.stages[i].node,
                                                .names = {"one", "two", "three", "four"},
                                                .lead = lead_,
                                                .pages = use_pages_ ? &pages_[i] : nullptr,
                                                .former = former_,
                                                .load_moved = load_moved_,
                                                .moved = &moved_[i],
                                                .led = &led_},
                                               reports_.Events()));
    }
    ASSERT_TRUE(
        reports_.Wait([&] { return reports_.loaded == static_cast<int>(plan.stages.size()); }));
    for (size_t i = 0; i < runners_.size(); ++i) {
      std::vector<NextStage> next;
      for (const size_t to : ConnectsTo(plan, i)) {
        auto [near, far] = TestLink::Pair(plan.stages[i].node, plan.stages[to].node, delay_);
        runners_[to]->GiveLink(std::move(far));
        next.push_back(Over(std::move(near)));
      }
      runners_[i]->Serve(std::move(next));
    }
  }
  // The stage at the far end of a link.
  static NextStage Over(std::unique_ptr<TestLink> link) {
    const NodeId node = link->peer();
    return {.node = node,
            .connect = [kept = std::make_shared<std::unique_ptr<TestLink>>(std::move(link))](
                           Time) -> Result<std::unique_ptr<DataLink>> { return std::move(*kept); }};
  }
  wire::Submit Ask(uint8_t number, size_t prompt, uint32_t most) const {
    wire::Submit submit{.request = Id(number), .plan = plan_.id, .max_new_tokens = most};
    for (size_t i = 0; i < prompt; ++i)
      submit.prompt.push_back(static_cast<TokenId>((i * 7 + number) % TestModel::kVocab));
    submit.prompt_tokens = static_cast<uint32_t>(prompt);
    return submit;
  }
  // The greedy answer of one undisturbed process.
  std::vector<TokenId> Expected(const wire::Submit& submit) {
    LocalOptions options{.codec = RowCodecOf(plan_.codec)};
    if (plan_.codec != wire::Codec::kF32) {
      for (size_t i = 0; i + 1 < plan_.stages.size(); ++i)
        options.cuts.push_back(plan_.stages[i].layer_end);
    }
    auto local = LocalModel::Load(*backend_, model_.config, model_.tensors, model_.source, options);
    EXPECT_TRUE(local && (*local)->Open(1, plan_.context));
    std::vector<TokenId> input = submit.prompt, answer;
    uint32_t first = 0;
    std::vector<float> logits(TestModel::kVocab);
    while (answer.size() < submit.max_new_tokens) {
      EXPECT_TRUE((*local)->Append(1, first, input, 1, logits));
      first += static_cast<uint32_t>(input.size());
      const auto best = std::max_element(logits.begin(), logits.end());
      answer.push_back(static_cast<TokenId>(best - logits.begin()));
      input = {answer.back()};
    }
    return answer;
  }
  void ExpectAnswer(const wire::Submit& submit) {
    runners_[0]->Submit(submit);
    ASSERT_TRUE(reports_.Wait([&] { return reports_.finished.contains(submit.request); }));
    EXPECT_EQ(reports_.finished[submit.request].reason, wire::FinishReason::kLength)
        << reports_.finished[submit.request].message;
    EXPECT_EQ(reports_.tokens[submit.request], Expected(submit));
  }

  // An answer of which `cached` tokens of the prompt were not computed.
  void ExpectRestored(wire::Submit submit, uint32_t cached) {
    submit.plan = plan_.id;
    reports_.tokens.erase(submit.request);
    reports_.finished.erase(submit.request);
    ExpectAnswer(submit);
    EXPECT_EQ(reports_.cached[submit.request], cached);
  }

  Time delay_{};  // of the links
  TestModel model_;
  std::unique_ptr<backend::Backend> backend_ = backend::MakeBackend({.threads = 2}).value();
  std::atomic<int> loads_{0};
  Reports reports_;
  static constexpr size_t kMostNodes = 4;
  StageStore stores_[kMostNodes];
  bool use_pages_ = false;
  LeadOptions lead_ = {};
  MemoryPages pages_[kMostNodes];  // the stages' prefix stores
  MovedPages moved_[kMostNodes];   // take nothing until they are given a limit
  PlanId former_;
  LoadMoved load_moved_;
  LedSteps led_;
  wire::Plan plan_;
  std::vector<std::unique_ptr<InstanceRunner>> runners_;
};

}  // namespace exo::engine
