#include "engine/draft_model.h"

#include <gtest/gtest.h>

#include "backend/devices.h"
#include "backend/test_model.h"
#include "engine/sampler.h"
#include "engine/test_ids.h"

namespace exo::engine {
namespace {

using backend::DType;
using backend::Kind;
using backend::TestModel;
using Tokens = std::vector<TokenId>;

class DraftModelTest : public testing::Test {
 protected:
  std::unique_ptr<LocalModel> Load() {
    return LocalModel::Load(*backend_, model_.config, model_.tensors, model_.source, {}).value();
  }
  // What the model says greedily behind `tokens`.
  Tokens Greedy(Tokens tokens, uint32_t count) {
    const auto model = Load();
    EXPECT_TRUE(model->Open(1, 2000));
    Tokens next = tokens, answer;
    uint32_t first = 0;
    while (answer.size() < count) {
      std::vector<float> logits(TestModel::kVocab);
      EXPECT_TRUE(model->Append(1, first, next, 1, logits));
      first += static_cast<uint32_t>(next.size());
      answer.push_back(Argmax(logits).value());
      next = {answer.back()};
    }
    return answer;
  }
  Tokens Prompt(size_t n, int seed = 0) {
    Tokens tokens;
    for (size_t i = 0; i < n; ++i)
      tokens.push_back(
          static_cast<TokenId>((i * i + 3 * i + static_cast<size_t>(seed) * 17) % 300));
    return tokens;
  }
  // The guesses of one call for one request; empty when there is none.
  Tokens Draft(DraftModel& draft, uint8_t request, const Tokens& text, uint32_t window) {
    const DraftWish wish{Id(request), text, window};
    const auto guesses = draft.Draft(std::span(&wish, 1));
    EXPECT_TRUE(guesses) << guesses.error().message;
    return guesses->empty() ? Tokens{} : guesses->front().tokens;
  }

  TestModel model_{DType::kQ4_0, DType::kQ8_0, Kind::kLlama};
  std::unique_ptr<backend::Backend> backend_ = backend::MakeBackend({.threads = 1}).value();
};

TEST_F(DraftModelTest, GuessesWhatItWouldSayItself) {
  DraftModel draft(Load(), 1000);
  Tokens text = Prompt(20);
  EXPECT_EQ(Draft(draft, 1, text, 5), Greedy(text, 5));
  // Two were accepted, then something else came.
  const Tokens said = Greedy(text, 5);
  text.insert(text.end(), said.begin(), said.begin() + 2);
  text.push_back(299);
  EXPECT_EQ(Draft(draft, 1, text, 4), Greedy(text, 4));
  EXPECT_GT(draft.per_token(), Time{});
}

TEST_F(DraftModelTest, SeveralRequestsAtOnceAsEachAlone) {
  DraftModel draft(Load(), 1000);
  const Tokens a = Prompt(9, 1), b = Prompt(14, 2), c = Prompt(3, 3);
  const std::vector<DraftWish> wishes = {{Id(1), a, 3}, {Id(2), b, 6}, {Id(3), c, 0}};
  const auto guesses = draft.Draft(wishes);
  ASSERT_TRUE(guesses);
  ASSERT_EQ(guesses->size(), 2u) << "nothing for a window of nothing";
  EXPECT_EQ((*guesses)[0].tokens, Greedy(a, 3));
  EXPECT_EQ((*guesses)[1].tokens, Greedy(b, 6));
}

TEST_F(DraftModelTest, ALongTextIsReadInPartsBeforeItGuesses) {
  DraftModel draft(Load(), 2000);
  const Tokens text = Prompt(700);
  EXPECT_TRUE(Draft(draft, 1, text, 2).empty());
  EXPECT_TRUE(Draft(draft, 1, text, 2).empty());
  EXPECT_EQ(Draft(draft, 1, text, 2), Greedy(text, 2));
}

TEST_F(DraftModelTest, SequencesGiveWayWhenMemoryIsShort) {
  DraftModel draft(Load(), 100);
  for (uint8_t i = 1; i <= 4; ++i) {
    const Tokens text = Prompt(60, i);
    EXPECT_EQ(Draft(draft, i, text, 3), Greedy(text, 3)) << int{i};
  }
  draft.Keep({Id(4)});
  const Tokens text = Prompt(61, 4);
  EXPECT_EQ(Draft(draft, 4, text, 3), Greedy(text, 3));
}

}  // namespace
}  // namespace exo::engine
