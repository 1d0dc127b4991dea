// Sums between shards over links: the bits of the whole tree, and what strangers may not send.
#include "engine/shard_group.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "backend/backend.h"
#include "base/random.h"
#include "engine/test_link.h"
#include "sys/system.h"

namespace exo::engine {
namespace {

using backend::LeafRange;
using backend::Partial;
using backend::SplitProduct;
using backend::SplitSum;

constexpr size_t kWidth = 12, kValues = 2 * kWidth;  // of a sum of two rows
// Of a mixture of 6 experts, where shard 0 has two, shard 1 none and shard 2 four.
constexpr uint32_t kChosen[] = {0, 1, 3, 2, 4, 5};

NodeId Number(size_t i) {
  NodeId id;
  id.bytes[0] = static_cast<uint8_t>(i + 1);
  return id;
}

// Six heads of 128 and 7 leaves of columns, the last one half full. And experts.
class ShardGroupTest : public testing::Test {
 protected:
  ShardGroupTest() {
    config_.heads = config_.kv_heads = 6;
    config_.head_dim = 128;
    config_.ffn_width = 6 * 128 + 64;
    config_.width = kWidth;
    config_.experts = {.count = 6, .used = 3};
    const wire::ShardPlan shards[] = {{0, 1, 0, 256, 0, 16, 0, 0, 0, 2},
                                      {1, 3, 256, 640, 16, 16, 0, 0, 2, 2},
                                      {3, 6, 640, 832, 16, 19, 0, 0, 2, 6}};
    for (size_t i = 0; i < 3; ++i)
      plan_.stages.push_back({.node = Number(i), .layer_end = 1, .shard = shards[i]});
    for (size_t i = 0; i < 3; ++i) links_[i][i] = nullptr;
    for (size_t i = 0; i < 3; ++i) {
      for (size_t j = i + 1; j < 3; ++j)
        std::tie(links_[i][j], links_[j][i]) = TestLink::Pair(Number(i), Number(j));
    }
  }
  ShardGroup GroupOf(uint32_t own) {
    std::vector<DataLink*> links;
    for (auto& link : links_[own]) links.push_back(link.get());
    return ShardGroup(plan_, own, config_, std::move(links), timers_);
  }
  std::vector<LeafRange> PartsOf(size_t shard, SplitProduct product) const {
    const wire::ShardPlan& own = *plan_.stages[shard].shard;
    if (product == SplitProduct::kFeedForward)
      return backend::ColumnSubtrees(config_.ffn_width, own.ffn_begin, own.ffn_end);
    return backend::ColumnSubtrees(config_.q_width(), own.kv_begin * 128, own.kv_end * 128);
  }
  // Random values for each part of a shard, one behind the other.
  static std::vector<float> Draw(size_t parts, uint64_t seed) {
    Rng rng(seed);
    std::vector<float> values(parts * kValues);
    for (float& value : values) value = static_cast<float>(rng.Uniform() - 0.5);
    return values;
  }
  Result<void> SumOf(ShardGroup& group, SplitProduct product, std::span<const float> own,
                     std::span<float> sum) {
    return group.Sum(std::array{SplitSum{.product = product, .own = own, .sum = sum}});
  }
  static std::vector<Partial> Cut(const std::vector<LeafRange>& parts,
                                  std::span<const float> values) {
    std::vector<Partial> partials;
    for (size_t i = 0; i < parts.size(); ++i)
      partials.push_back({parts[i], values.subspan(i * kValues, kValues)});
    return partials;
  }

  model::ModelConfig config_;
  wire::Plan plan_;
  StageTimers timers_;
  std::array<std::array<std::unique_ptr<TestLink>, 3>, 3> links_;
};

TEST_F(ShardGroupTest, AllHaveTheSumOfTheWholeTree) {
  constexpr SplitProduct kProducts[] = {SplitProduct::kAttention, SplitProduct::kFeedForward};
  std::array<std::vector<std::vector<float>>, 3> sums;
  std::vector<std::thread> shards;
  for (uint32_t own = 0; own < 3; ++own) {
    shards.emplace_back([&, own] {
      ShardGroup group = GroupOf(own);
      for (uint64_t step = 1; step <= 5; ++step) {
        group.Begin(step);
        for (const SplitProduct product : kProducts) {
          const auto parts = PartsOf(own, product);
          const auto values = Draw(parts.size(), step * 10 + own);
          std::vector<float> sum(kValues);
          ASSERT_TRUE(SumOf(group, product, values, sum));
          sums[own].push_back(std::move(sum));
        }
      }
      EXPECT_EQ(group.Times().size(), 3u);
      EXPECT_TRUE(group.lost().IsZero());
    });
  }
  for (std::thread& shard : shards) shard.join();
  EXPECT_EQ(sums[0], sums[1]);
  EXPECT_EQ(sums[0], sums[2]);
  size_t at = 0;
  for (uint64_t step = 1; step <= 5; ++step) {
    for (const SplitProduct product : kProducts) {
      std::vector<std::vector<float>> values;
      std::vector<Partial> all;
      for (size_t shard = 0; shard < 3; ++shard) {
        const auto parts = PartsOf(shard, product);
        values.push_back(Draw(parts.size(), step * 10 + shard));
        for (const Partial& partial : Cut(parts, values.back())) all.push_back(partial);
      }
      std::vector<float> expected(kValues);
      backend::CombinePartials(product == SplitProduct::kAttention ? 6 : 7, all, expected);
      EXPECT_EQ(sums[0].at(at++), expected);
    }
  }
}

// Both blocks of a mixture in one exchange. Row 0 goes to two experts of shard 0, a subtree, and to
// one of shard 2, row 1 to three of shard 2.
TEST_F(ShardGroupTest, ExpertsAreSummedRowByRowBesideColumns) {
  constexpr size_t kSubtrees[] = {1, 0, 2};
  std::array<std::vector<float>, 3> own;
  std::array<std::vector<float>, 3> sums, columns;
  std::vector<std::thread> shards;
  for (uint32_t shard = 0; shard < 3; ++shard) {
    const size_t mixed = kSubtrees[shard] * kWidth;
    const size_t parts = PartsOf(shard, SplitProduct::kFeedForward).size();
    own[shard] = Draw(kSubtrees[shard] + parts, shard);  // more than is needed
    shards.emplace_back([&, shard, mixed, parts] {
      ShardGroup group = GroupOf(shard);
      group.Begin(1);
      sums[shard].resize(kValues);
      columns[shard].resize(kValues);
      const std::span<const float> values = own[shard];
      const std::array both = {SplitSum{.product = SplitProduct::kExperts,
                                        .chosen = kChosen,
                                        .own = values.first(mixed),
                                        .sum = sums[shard]},
                               SplitSum{.product = SplitProduct::kFeedForward,
                                        .own = values.subspan(mixed, parts * kValues),
                                        .sum = columns[shard]}};
      const auto done = group.Sum(both);
      ASSERT_TRUE(done) << done.error().message;
    });
  }
  for (std::thread& shard : shards) shard.join();
  std::vector<float> expected(kValues);
  for (size_t i = 0; i < kWidth; ++i) {
    expected[i] = own[0][i] + own[2][i];
    expected[kWidth + i] = own[2][kWidth + i];
  }
  std::vector<Partial> all;
  for (size_t shard = 0; shard < 3; ++shard) {
    const auto behind = std::span(own[shard]).subspan(kSubtrees[shard] * kWidth);
    for (const Partial& one : Cut(PartsOf(shard, SplitProduct::kFeedForward), behind))
      all.push_back(one);
  }
  std::vector<float> dense(kValues);
  backend::CombinePartials(7, all, dense);
  for (size_t shard = 0; shard < 3; ++shard) {
    EXPECT_EQ(sums[shard], expected);
    EXPECT_EQ(columns[shard], dense);
  }
}

// What shard 2 says where shard 0 waits for its part of the first sum of step 3.
TEST_F(ShardGroupTest, AnythingButTheNextPartialsEndsTheStep) {
  const auto parts = PartsOf(2, SplitProduct::kAttention);
  const auto good = Draw(parts.size(), 1);
  const auto sum_with = [&](const wire::Message& message, std::span<const float> rows) {
    std::tie(links_[0][2], links_[2][0]) = TestLink::Pair(Number(0), Number(2));
    std::tie(links_[0][1], links_[1][0]) = TestLink::Pair(Number(0), Number(1));
    const auto other = Draw(PartsOf(1, SplitProduct::kAttention).size(), 2);
    EXPECT_TRUE(links_[1][0]->SendFloats(wire::Partials{plan_.id, 3, 0}, other, {}));
    EXPECT_TRUE(links_[2][0]->SendFloats(message, rows, {}));
    ShardGroup group = GroupOf(0);
    group.Begin(3);
    const auto own = Draw(1, 3);
    std::vector<float> sum(kValues);
    const auto done = SumOf(group, SplitProduct::kAttention, own, sum);
    return done ? std::optional<ErrorCode>() : done.error().code;
  };
  PlanId foreign;
  foreign.bytes[0] = 9;
  EXPECT_EQ(sum_with(wire::Partials{plan_.id, 3, 0}, good), std::nullopt);
  EXPECT_EQ(sum_with(wire::Partials{foreign, 3, 0}, good), ErrorCode::kCorrupt);
  EXPECT_EQ(sum_with(wire::Partials{plan_.id, 2, 0}, good), ErrorCode::kCorrupt);
  EXPECT_EQ(sum_with(wire::Partials{plan_.id, 3, 1}, good), ErrorCode::kCorrupt);
  EXPECT_EQ(sum_with(wire::Partials{plan_.id, 3, 0}, {}), ErrorCode::kCorrupt);
  EXPECT_EQ(sum_with(wire::Partials{plan_.id, 3, 0}, std::span(good).first(good.size() - 1)),
            ErrorCode::kCorrupt);
  EXPECT_EQ(sum_with(wire::Step{.plan = plan_.id}, good), ErrorCode::kCorrupt);
  EXPECT_EQ(sum_with(wire::StepFailed{plan_.id, 3, ErrorCode::kOverloaded, "no memory"}, {}),
            ErrorCode::kOverloaded);
  // These mean something else here: the step would count as given up, or as of another plan.
  for (const ErrorCode local : {ErrorCode::kCancelled, ErrorCode::kNotFound}) {
    EXPECT_EQ(sum_with(wire::StepFailed{plan_.id, 3, local, "no page"}, {}),
              ErrorCode::kDisconnected);
  }
}

// Two rows of 19 tokens, of which the lead has 16, shard 1 none and shard 2 three.
TEST_F(ShardGroupTest, TheLeadTakesTheLogitsOfTheOthers) {
  const std::vector<float> own = {1, 3, 2, 6, 5, 4};
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const std::vector<float> states(kValues);
  ShardGroup lead = GroupOf(0), other = GroupOf(2);
  for (const uint32_t best : {backend::kAllLogits, 1u}) {
    std::vector<float> logits(size_t{2} * 19, 9);
    lead.Begin(7);
    ASSERT_TRUE(lead.AskLogits(3, 2, best, states));
    EXPECT_EQ(links_[1][0]->Poll(sys::Now(), -1)->event, DataLink::Event::kTimeout);
    const auto asked = links_[2][0]->Poll(sys::Now(), -1).value();
    const auto wanted = std::get<wire::LogitsWanted>(*asked.frame.message);
    EXPECT_TRUE(asked.frame.tensor.empty()) << "it has computed them itself";
    EXPECT_EQ(wanted, (wire::LogitsWanted{plan_.id, 7, 3, 2, best}));
    ASSERT_TRUE(other.GiveLogits(wanted, own));
    ASSERT_TRUE(lead.TakeLogits(logits));
    EXPECT_EQ(logits[15], 9);
    const bool all = best == backend::kAllLogits;
    const std::vector<float> first(logits.begin() + 16, logits.begin() + 19);
    const std::vector<float> second(logits.begin() + 35, logits.end());
    EXPECT_EQ(first, (all ? std::vector<float>{1, 3, 2} : std::vector<float>{kNone, 3, kNone}));
    EXPECT_EQ(second, (all ? std::vector<float>{6, 5, 4} : std::vector<float>{6, kNone, kNone}));
  }
}

TEST_F(ShardGroupTest, AnythingButTheLogitsThatWereAskedForEndsTheStep) {
  const std::vector<float> own = {1, 3, 2};
  const auto take = [&](const wire::Message& message, std::span<const float> values) {
    std::tie(links_[0][2], links_[2][0]) = TestLink::Pair(Number(0), Number(2));
    ShardGroup lead = GroupOf(0);
    lead.Begin(7);
    EXPECT_TRUE(lead.AskLogits(3, 1, backend::kAllLogits, {}));
    EXPECT_TRUE(links_[2][0]->SendFloats(message, values, {}));
    std::vector<float> logits(19);
    const auto done = lead.TakeLogits(logits);
    return done ? std::optional<ErrorCode>() : done.error().code;
  };
  EXPECT_EQ(take(wire::ShardLogits{plan_.id, 7, 3}, own), std::nullopt);
  EXPECT_EQ(take(wire::ShardLogits{plan_.id, 6, 3}, own), ErrorCode::kCorrupt);
  EXPECT_EQ(take(wire::ShardLogits{plan_.id, 7, 2}, own), ErrorCode::kCorrupt);
  EXPECT_EQ(take(wire::ShardLogits{plan_.id, 7, 3}, std::span(own).first(2)), ErrorCode::kCorrupt);
  EXPECT_EQ(take(wire::Partials{plan_.id, 7, 0}, own), ErrorCode::kCorrupt);
  EXPECT_EQ(take(wire::StepFailed{plan_.id, 7, ErrorCode::kOverloaded, "no memory"}, {}),
            ErrorCode::kOverloaded);
}

TEST_F(ShardGroupTest, ABrokenLinkNamesTheShard) {
  ShardGroup group = GroupOf(0);
  group.Begin(1);
  links_[2][0]->Shutdown();
  const auto own = Draw(1, 3);
  std::vector<float> sum(kValues);
  const auto done = SumOf(group, SplitProduct::kAttention, own, sum);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kDisconnected);
  EXPECT_EQ(group.lost(), Number(2));
}

}  // namespace
}  // namespace exo::engine
