// The entry side of a request with the real vocabulary of exo-tiny and a host that plays the
// cluster.
#include "node/requests.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/log.h"
#include "store/model.h"
#include "sys/system.h"

namespace exo::node {
namespace {

struct Sink final : GenerateSink {
  void OnStarted(const StartReport& report) override {
    prompt_tokens = report.prompt_tokens;
    prompt.assign(report.prompt.begin(), report.prompt.end());
    max_tokens = report.max_tokens;
    ++starts;
  }
  void OnDelta(const Delta& delta) override {
    (delta.choice == 0 ? text : others[delta.choice]) += std::get<TextDelta>(delta.what).text;
    logprobs.insert(logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
  }
  void OnDone(wire::FinishReason why, const GenerateStats& s) override {
    reason = why;
    stats = s;
    done = true;
  }
  void OnError(const GenerateError& e) override {
    error = e;
    done = true;
  }
  uint32_t prompt_tokens = 0;
  std::vector<TokenId> prompt;
  uint32_t max_tokens = 0;
  int starts = 0;
  std::string text;
  std::map<uint32_t, std::string> others;  // of further choices
  std::vector<SampledLogprob> logprobs;
  bool done = false;
  std::optional<wire::FinishReason> reason;
  std::optional<GenerateError> error;
  GenerateStats stats;
};

class RequestsTest : public testing::Test, protected RequestHost {
 protected:
  void SetUp() override {
    auto file = store::ModelFile::Open(EXO_SOURCE_DIR "/models/exo-tiny.gguf");
    ASSERT_TRUE(file);
    file_ = *file;
    vocabulary_ = ParseVocabulary(file_->manifest().gguf()).value();
  }

  grammar::Cache& grammars() override { return grammars_; }
  void FindModel(const std::string& name, std::function<void(Result<ModelId>)> done) override {
    if (name == "exo-tiny") return done(found_.value_or(file_->manifest().id()));
    done(Fail(ErrorCode::kNotFound, "there is no model '{}'", name));
  }
  void GetVocabulary(const ModelId&,
                     std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) override {
    done(vocabulary_);
  }
  uint32_t ContextOf(const ModelId&) const override { return 64; }
  void Ensure(const ModelId&, const Placing&,
              std::function<void(Result<wire::Plan>)> done) override {
    if (changed_ > 0 && --changed_ >= 0)
      return done(Fail(ErrorCode::kCorrupt, "x.gguf is not the file that it was"));
    if (refuse_) return done(Fail(ErrorCode::kOverloaded, "nothing fits"));
    wire::Plan plan;
    plan.model_name = "exo-tiny";
    plan.context = 64;
    plan.stages.push_back({.node = NodeId{}, .layer_begin = 0, .layer_end = 8});
    done(plan);
  }
  void Submit(wire::Submit submit, const ModelId&, std::vector<wire::AdapterRef>) override {
    submitted_ = std::move(submit);
    submits_.push_back(*submitted_);
  }
  void CancelRequest(const RequestId& request) override {
    cancelled_ = request;
    ++cancels_;
  }
  void PauseRequest(const RequestId&, bool paused) override { pauses_.push_back(paused); }
  std::string NameOf(const NodeId&) const override { return "desk"; }
  bool LogsPrompts() const override { return log_prompts_; }
  void OnRequestChanged(const RequestId&, const RequestChange& change) override {
    changes_.push_back(fmt::format("{} {} {}", change.model, change.state, change.detail));
  }

  // Runs the loop until `ready` or five seconds have passed.
  void RunUntil(const std::function<bool()>& ready) {
    net::Timer timer(loop_);
    const Time end = sys::Now() + std::chrono::minutes(1);
    std::function<void()> look = [&] {
      if (ready() || sys::Now() > end) return loop_.Stop();
      timer.Start(std::chrono::milliseconds(1), look);
    };
    loop_.Post(look);
    loop_.Run();
    EXPECT_TRUE(ready());
  }
  std::vector<TokenId> TokensOf(std::string_view text) {
    return vocabulary_->tokenizer->Encode(text, false);
  }
  void Answer(std::string_view text, wire::FinishReason reason) {
    for (const TokenId token : TokensOf(text)) requests_.OnTokens({submitted_->request, {token}});
    wire::Finished finished;
    finished.request = submitted_->request;
    finished.reason = reason;
    requests_.OnFinished(finished);
  }

  net::EventLoop loop_;
  grammar::Cache grammars_;  // outlives the tasks
  std::shared_ptr<const store::ModelFile> file_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::optional<wire::Submit> submitted_;
  std::vector<wire::Submit> submits_;
  std::optional<RequestId> cancelled_;
  int cancels_ = 0;
  std::vector<std::string> changes_;
  std::vector<bool> pauses_;
  bool refuse_ = false;
  bool log_prompts_ = false;
  int changed_ = 0;  // so many loads find another file
  std::optional<ModelId> found_;
  Sink sink_;
  sys::TaskQueue tasks_{1};
  Requests requests_{loop_, tasks_, *this};
};

TEST_F(RequestsTest, ChatGoesThroughTheTemplateAndComesBackAsText) {
  GenerateRequest request{.model = "exo-tiny", .messages = {{"user", "What is <|end|> exo?"}}};
  request.max_tokens = 20;
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  // What the user wrote never becomes a control token: the template wrote one <|end|>, the user
  // none.
  const auto control = vocabulary_->tokenizer->Encode("<|end|>", true);
  ASSERT_EQ(control.size(), 1u);
  EXPECT_EQ(std::count(submitted_->prompt.begin(), submitted_->prompt.end(), control[0]), 1);
  EXPECT_EQ(submitted_->max_new_tokens, 20u);
  EXPECT_FALSE(submitted_->stop_tokens.empty());
  Answer("It is one program.", wire::FinishReason::kStop);
  EXPECT_TRUE(sink_.done);
  EXPECT_EQ(sink_.text, "It is one program.");
  EXPECT_EQ(sink_.stats.stages.at(0).node, "desk");
  EXPECT_EQ(requests_.count(), 0u);
}

TEST_F(RequestsTest, AStopStringCancelsTheRest) {
  GenerateRequest request{.model = "exo-tiny", .prompt = "Once"};
  request.stop = {"program"};
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  const RequestId id = submitted_->request;
  Answer("It is one program, and more.", wire::FinishReason::kLength);
  EXPECT_EQ(sink_.text, "It is one ");
  EXPECT_EQ(sink_.reason, wire::FinishReason::kStop);
  EXPECT_EQ(cancelled_, id);
}

// The lead tells nothing more of an answer that is ended here: what it told so far counts.
TEST_F(RequestsTest, AnAnswerThatAStopTextEndsHasItsStagesTimes) {
  GenerateRequest request{.model = "exo-tiny", .prompt = "Once"};
  request.stop = {"program"};
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  uint64_t microseconds = 0;
  for (const TokenId token : TokensOf("It is one program.")) {
    microseconds += 1500;
    requests_.OnTokens({.request = submitted_->request,
                        .tokens = {token},
                        .stages = {{.layer_end = 8, .microseconds = microseconds}}});
  }
  ASSERT_TRUE(sink_.done);
  EXPECT_GE(sink_.stats.stages.at(0).milliseconds, 1.5);
  EXPECT_LE(sink_.stats.stages.at(0).milliseconds, static_cast<double>(microseconds) / 1000);
  EXPECT_GT(sink_.stats.ttft_ms, 0);
}

// Another replica than the one that was thought of when the request came.
TEST_F(RequestsTest, ARecordNamesTheDevicesThatAnswer) {
  const auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  requests_.OnTokens({.request = submitted_->request,
                      .tokens = {TokensOf("It").front()},
                      .stages = {{.node = NodeId{{7}}, .layer_end = 8}}});
  EXPECT_EQ(requests_.records().All().at(0)->nodes(), std::vector{NodeId{{7}}});
}

TEST_F(RequestsTest, AConversationThatBeganStandsInFrontOfTheChat) {
  GenerateRequest request{.model = "exo-tiny", .messages = {{"user", "What?"}}};
  auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  std::vector<TokenId> alone = submitted_->prompt;
  EXPECT_TRUE(sink_.prompt.empty()) << "nobody wants it";
  submitted_.reset();
  request.before = TokensOf("Once upon");
  request.tells_prompt = true;
  handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  if (alone.front() == vocabulary_->tokenizer->bos()) alone.erase(alone.begin());
  const std::vector<TokenId>& whole = submitted_->prompt;
  ASSERT_GT(whole.size(), alone.size());
  EXPECT_TRUE(std::equal(alone.rbegin(), alone.rend(), whole.rbegin()));
  const auto begun = std::ranges::search(whole, request.before);
  ASSERT_LT(begun.end() - whole.begin() + static_cast<std::ptrdiff_t>(alone.size()),
            static_cast<std::ptrdiff_t>(whole.size()));
  const TokenId end = *begun.end();  // as the template ends answers
  EXPECT_TRUE(vocabulary_->tokenizer->IsEndOfGeneration(end));
  Answer("It", wire::FinishReason::kStop);
  EXPECT_EQ(sink_.prompt, whole);
  EXPECT_EQ(sink_.max_tokens, 64 - whole.size());
  // An end that is there already is not written twice.
  const std::vector<TokenId> first_time = whole;
  submitted_.reset();
  request.before.push_back(end);
  handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  EXPECT_EQ(submitted_->prompt, first_time);
  request.before = {1 << 20};
  handle = requests_.Start(request, sink_);
  RunUntil([&] { return sink_.error.has_value(); });
  EXPECT_EQ(sink_.error->field, "context");
}

TEST_F(RequestsTest, APausedStreamHoldsTextBackAndLosesNothing) {
  const auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  handle->SetPaused(true);
  EXPECT_EQ(pauses_, std::vector<bool>{true});  // told to whoever generates
  Answer("It is one program.", wire::FinishReason::kStop);
  EXPECT_EQ(sink_.text, "");
  EXPECT_FALSE(sink_.done);
  handle->SetPaused(false);
  EXPECT_EQ(pauses_, (std::vector<bool>{true, false}));
  EXPECT_EQ(sink_.text, "It is one program.");
  EXPECT_TRUE(sink_.done);
}

TEST_F(RequestsTest, APauseBeforeTheSubmissionCountsToo) {
  const auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  handle->SetPaused(true);
  EXPECT_TRUE(pauses_.empty());
  RunUntil([&] { return submitted_.has_value(); });
  EXPECT_EQ(pauses_, std::vector<bool>{true});
}

// A reader that fills up again while it catches up is heard before everything is pushed to it.
TEST_F(RequestsTest, APauseThatArrivesWhileDeliveringStopsTheDelivery) {
  const auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  const std::vector<TokenId> letters(1000, TokensOf("a").front());
  handle->SetPaused(true);
  requests_.OnTokens({submitted_->request, letters});
  // As a connection does it, in a separate loop iteration.
  loop_.Post([&] { handle->SetPaused(true); });
  handle->SetPaused(false);
  RunUntil([&] { return pauses_.size() == 3; });
  EXPECT_GT(sink_.text.size(), 0u);
  EXPECT_LT(sink_.text.size(), 300u);
  handle->SetPaused(false);
  Answer("", wire::FinishReason::kLength);
  RunUntil([&] { return sink_.done; });
  EXPECT_EQ(sink_.stats.completion_tokens, 1000u);
  EXPECT_GE(sink_.text.size(), 1000u);
}

TEST_F(RequestsTest, ATooLongPromptIsRefusedWithBothNumbers) {
  GenerateRequest request{.model = "exo-tiny", .prompt_ids = std::vector<TokenId>(70, 300)};
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return sink_.done; });
  EXPECT_EQ(sink_.error->refusal, Refusal::kContextLength);
  EXPECT_NE(sink_.error->error.message.find("70"), std::string::npos);
  EXPECT_NE(sink_.error->error.message.find("64"), std::string::npos);
}

TEST_F(RequestsTest, ALimitBeyondTheContextIsWhatTheContextLeaves) {
  for (const uint32_t limit : {5u, 10u, 4096u, UINT32_MAX}) {
    submitted_.reset();
    GenerateRequest request{.model = "exo-tiny", .prompt_ids = std::vector<TokenId>(55, 300)};
    request.max_tokens = limit;
    const auto handle = requests_.Start(request, sink_);
    RunUntil([&] { return submitted_.has_value(); });
    // The vocabulary may put its BOS in front.
    const auto room = 64 - static_cast<uint32_t>(submitted_->prompt.size());
    EXPECT_EQ(submitted_->max_new_tokens, std::min(limit, room));
  }
}

TEST_F(RequestsTest, AModelFileThatWasTouchedIsWaitedFor) {
  changed_ = 2;
  const auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  EXPECT_EQ(changed_, 0);
  EXPECT_EQ(submitted_->prompt_tokens, submitted_->prompt.size());
  Answer("x", wire::FinishReason::kStop);
  EXPECT_TRUE(sink_.done);
}

// Its tokens are those of the former contents.
TEST_F(RequestsTest, AModelFileThatIsAnotherModelNowEndsTheRequestsOfTheFormer) {
  changed_ = 1;
  const auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  RunUntil([&] { return changed_ == 0; });
  found_.emplace().bytes[0] = 9;
  RunUntil([&] { return sink_.done; });
  EXPECT_EQ(sink_.error->refusal, Refusal::kNoPlan);
  EXPECT_EQ(
      sink_.error->error.message,
      "the file of 'exo-tiny' was replaced by another model meanwhile; send the request again");
}

TEST_F(RequestsTest, RefusalsKeepTheirKind) {
  const auto unknown = requests_.Start({.model = "no-such", .prompt = "x"}, sink_);
  RunUntil([&] { return sink_.done; });
  EXPECT_EQ(sink_.error->refusal, Refusal::kUnknownModel);
  refuse_ = true;
  Sink second;
  const auto no_plan = requests_.Start({.model = "exo-tiny", .prompt = "x"}, second);
  RunUntil([&] { return second.done; });
  EXPECT_EQ(second.error->refusal, Refusal::kNoPlan);
  Sink third;
  GenerateRequest outside{.model = "exo-tiny", .prompt_ids = std::vector<TokenId>{1'000'000}};
  const auto bad = requests_.Start(outside, third);
  RunUntil([&] { return third.done; });
  EXPECT_EQ(third.error->refusal, Refusal::kBadInput);
}

TEST_F(RequestsTest, EachRequestIsCountedAndItsStartAndEndAreTold) {
  auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  EXPECT_EQ(requests_.Metrics().requests_queued, 1u);
  RunUntil([&] { return submitted_.has_value(); });
  EXPECT_EQ(requests_.Metrics().requests_active, 1u);
  Answer("It is.", wire::FinishReason::kStop);
  const NodeMetrics metrics = requests_.Metrics();
  EXPECT_EQ(metrics.requests_active + metrics.requests_queued, 0u);
  EXPECT_EQ(metrics.requests_total, 1u);
  EXPECT_EQ(metrics.prompt_tokens, submitted_->prompt.size());
  EXPECT_EQ(metrics.generated_tokens, TokensOf("It is.").size());
  ASSERT_EQ(changes_.size(), 2u);
  EXPECT_EQ(changes_[0], "exo-tiny started ");
  EXPECT_TRUE(changes_[1].starts_with("exo-tiny ended ")) << changes_[1];

  handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  handle.reset();
  EXPECT_NE(changes_.back().find("canceled"), std::string::npos) << changes_.back();
  const auto unknown = requests_.Start({.model = "no-such", .prompt = "x"}, sink_);
  RunUntil([&] { return sink_.error.has_value(); });
  EXPECT_NE(changes_.back().find("no-such"), std::string::npos) << changes_.back();
}

TEST_F(RequestsTest, WhereARequestStandsIsTold) {
  const auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  requests_.OnQueued({submitted_->request, 3});
  EXPECT_EQ(changes_.back(), "exo-tiny queued behind 3 others");
  EXPECT_EQ(requests_.Metrics().requests_queued, 1u);
  EXPECT_EQ(requests_.Metrics().requests_active, 0u);
  requests_.OnQueued({submitted_->request, 0});
  EXPECT_EQ(changes_.back(), "exo-tiny queued next");
  const size_t told = changes_.size();
  requests_.OnQueued({RequestId{}, 1});  // nobody's
  EXPECT_EQ(changes_.size(), told);
}

TEST_F(RequestsTest, DroppingTheHandleCancels) {
  auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  handle.reset();
  EXPECT_EQ(cancelled_, submitted_->request);
  EXPECT_EQ(requests_.count(), 0u);
  requests_.OnTokens({submitted_->request, {1}});  // late news of a request that is gone
  EXPECT_EQ(sink_.text, "");
}

TEST_F(RequestsTest, LogprobsComeWithTheTokensBytes) {
  GenerateRequest request{.model = "exo-tiny", .prompt = "Once"};
  request.sampler.logprobs = true;
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  EXPECT_TRUE(submitted_->sampler.logprobs);
  const auto tokens = TokensOf("ab");
  ASSERT_GE(tokens.size(), 1u);
  wire::Logprobs logprobs;
  for (size_t i = 0; i < tokens.size(); ++i) {
    logprobs.sampled.push_back(-0.5f * static_cast<float>(i + 1));
    logprobs.top.push_back({tokens[0], -0.25f});
    logprobs.top.push_back({tokens[i], -4.0f});
  }
  requests_.OnTokens({.request = submitted_->request, .tokens = tokens, .logprobs = logprobs});
  ASSERT_EQ(sink_.logprobs.size(), tokens.size());
  std::string bytes;
  for (const SampledLogprob& one : sink_.logprobs) bytes += one.token.bytes;
  EXPECT_EQ(bytes, "ab");
  EXPECT_EQ(sink_.logprobs[0].token.logprob, -0.5);
  ASSERT_EQ(sink_.logprobs[0].top.size(), 2u);
  EXPECT_EQ(sink_.logprobs.back().top[1].bytes, sink_.logprobs.back().token.bytes);
  EXPECT_EQ(sink_.logprobs.back().top[1].logprob, -4);
}

TEST_F(RequestsTest, OtherChoicesBeginWhenThePromptIsCachedAndAllEndTheAnswer) {
  GenerateRequest request{.model = "exo-tiny", .prompt = "Once upon"};
  request.choices = 3;
  request.has_seed = true;
  request.sampler.seed = 5;
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  EXPECT_EQ(submits_.size(), 1u);  // the others would compute the prompt again
  const RequestId first = submitted_->request;
  requests_.OnTokens({.request = first, .tokens = TokensOf("a"), .cached = 0});
  ASSERT_EQ(submits_.size(), 3u);
  for (uint32_t choice = 0; choice < 3; ++choice) {
    EXPECT_EQ(submits_[choice].prompt, submits_[0].prompt);
    EXPECT_EQ(submits_[choice].sampler.seed, 5u);
    EXPECT_EQ(submits_[choice].sampler.choice, choice);
  }
  for (const uint32_t choice : {2u, 0u, 1u}) {
    EXPECT_FALSE(sink_.done);
    const RequestId id = submits_[choice].request;
    requests_.OnTokens({.request = id, .tokens = TokensOf(choice == 1 ? "x" : "y"), .cached = 2});
    requests_.OnFinished(
        {.request = id,
         .reason = choice == 1 ? wire::FinishReason::kLength : wire::FinishReason::kStop});
  }
  EXPECT_TRUE(sink_.done);
  EXPECT_EQ(sink_.text, "ay");
  EXPECT_EQ(sink_.others[1], "x");
  EXPECT_EQ(sink_.others[2], "y");
  EXPECT_EQ(sink_.stats.reasons,
            (std::vector{wire::FinishReason::kStop, wire::FinishReason::kLength,
                         wire::FinishReason::kStop}));
  EXPECT_EQ(sink_.stats.prompt_tokens, submits_[0].prompt.size());  // once
  EXPECT_EQ(sink_.stats.cached_tokens, 0u);                         // the first one's
  EXPECT_EQ(sink_.stats.completion_tokens, 4u);
  EXPECT_EQ(requests_.count(), 0u);
}

TEST_F(RequestsTest, ChoicesOfAnAnswerThatEndsAtOnceBeginToo) {
  GenerateRequest request{.model = "exo-tiny", .prompt = "Once"};
  request.choices = 2;
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  requests_.OnFinished({.request = submits_[0].request});  // a stop token came first
  ASSERT_EQ(submits_.size(), 2u);
  EXPECT_FALSE(sink_.done);
  requests_.OnFinished({.request = submits_[1].request});
  EXPECT_TRUE(sink_.done);
}

TEST_F(RequestsTest, OneChoicesErrorOrTheClientsLeaveEndsAll) {
  GenerateRequest request{.model = "exo-tiny", .prompt = "Once"};
  request.choices = 3;
  auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  requests_.OnTokens({.request = submits_[0].request, .tokens = TokensOf("a")});
  handle->SetPaused(true);
  EXPECT_EQ(pauses_, (std::vector<bool>{true, true, true}));
  handle->SetPaused(false);
  requests_.OnFinished({.request = submits_[1].request,
                        .reason = wire::FinishReason::kError,
                        .code = ErrorCode::kOverloaded,
                        .message = "full"});
  EXPECT_TRUE(sink_.error);
  EXPECT_EQ(cancels_, 2);
  EXPECT_EQ(requests_.count(), 0u);
  submits_.clear();
  Sink second;
  handle = requests_.Start(request, second);
  RunUntil([&] { return !submits_.empty(); });
  requests_.OnTokens({.request = submits_[0].request, .tokens = TokensOf("a")});
  EXPECT_EQ(requests_.count(), 3u);
  handle.reset();
  EXPECT_EQ(requests_.count(), 0u);
  EXPECT_EQ(cancels_, 5);
}

TEST_F(RequestsTest, TokensThatTheVocabularyDoesNotHaveAreNamed) {
  GenerateRequest bias{.model = "exo-tiny", .prompt = "x"};
  bias.sampler.logit_bias = {{1'000'000, 1}};
  const auto first = requests_.Start(bias, sink_);
  RunUntil([&] { return sink_.done; });
  EXPECT_EQ(sink_.error->refusal, Refusal::kBadInput);
  EXPECT_NE(sink_.error->error.message.find("token 1000000 of 'logit_bias'"), std::string::npos);
  Sink second;
  GenerateRequest stop{.model = "exo-tiny", .prompt = "x"};
  stop.stop_tokens = {7, 1'000'000};
  const auto handle = requests_.Start(stop, second);
  RunUntil([&] { return second.done; });
  EXPECT_NE(second.error->error.message.find("'stop_token_ids'"), std::string::npos);
}

TEST_F(RequestsTest, StopTokensOfTheClientStandBesideTheModels) {
  GenerateRequest request{.model = "exo-tiny", .prompt = "Once"};
  request.stop_tokens = {300, 301};
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  std::vector<TokenId> expected = vocabulary_->stop_tokens;
  expected.insert(expected.end(), {300, 301});
  EXPECT_EQ(submitted_->stop_tokens, expected);
}

// A breaker that lies within tokens, and one that tokens only begin.
TEST_F(RequestsTest, DryBreakersBecomeTokens) {
  GenerateRequest request{.model = "exo-tiny", .prompt = "Once"};
  request.sampler.dry_multiplier = 1;
  request.dry_breakers = {"\n", "zq#"};
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  const model::Tokenizer& tokenizer = *vocabulary_->tokenizer;
  const auto& singles = submitted_->sampler.dry_break_tokens;
  EXPECT_FALSE(singles.empty());
  EXPECT_TRUE(std::ranges::is_sorted(singles));
  for (TokenId id = 0; id < static_cast<TokenId>(tokenizer.vocab_size()); ++id) {
    const bool breaks = tokenizer.Bytes(id, true).find('\n') != std::string::npos;
    EXPECT_EQ(std::ranges::binary_search(singles, id), breaks) << id;
  }
  // Every sequence spells the breaker, and one does as the tokenizer itself would.
  const auto& all = submitted_->sampler.dry_break_sequences;
  std::vector<TokenId> sequence;
  bool as_encoded = false;
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.back(), -1);
  for (const TokenId token : all) {
    if (token >= 0) {
      sequence.push_back(token);
      continue;
    }
    std::string text;
    for (const TokenId one : sequence) text += tokenizer.Bytes(one, true);
    EXPECT_TRUE(text.ends_with("zq#")) << text;
    as_encoded = as_encoded || sequence == TokensOf("zq#");
    sequence.clear();
  }
  EXPECT_TRUE(as_encoded);
}

// A prompt that takes long: the client hears at once that its request is in work.
TEST_F(RequestsTest, ALongPromptIsAnnouncedBeforeItsFirstToken) {
  const auto handle = requests_.Start({.model = "exo-tiny", .prompt = "a"}, sink_);
  RunUntil([&] { return sink_.starts > 0; });
  EXPECT_TRUE(submitted_.has_value());
  EXPECT_FALSE(sink_.done);
  Answer("b", wire::FinishReason::kStop);
  EXPECT_EQ(sink_.starts, 1);
  EXPECT_TRUE(sink_.done);
}

TEST_F(RequestsTest, TheStopTextThatEndedAnAnswerIsNamed) {
  const auto handle =
      requests_.Start({.model = "exo-tiny", .prompt = "a", .stop = {"zzz", "END"}}, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  Answer("it is END of it", wire::FinishReason::kLength);
  EXPECT_EQ(sink_.text, "it is ");
  EXPECT_EQ(sink_.stats.stops, std::vector<std::string>{"END"});
}

TEST_F(RequestsTest, AnAnswerGoesOnInItsOwnBeginning) {
  GenerateRequest request{.model = "exo-tiny",
                          .messages = {{"user", "Count."}, {"assistant", "One, two,"}}};
  request.chat.continue_last = true;
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  const std::string prompt = vocabulary_->tokenizer->Decode(submitted_->prompt, true);
  EXPECT_TRUE(prompt.ends_with("One, two,")) << prompt;
}

TEST_F(RequestsTest, WhatCannotBeDoneYetIsRefused) {
  GenerateRequest forced{.model = "exo-tiny", .messages = {{"user", "a"}}};
  forced.chat.tool_use = ToolUse::kRequired;
  auto handle = requests_.Start(forced, sink_);
  RunUntil([&] { return sink_.done; });
  ASSERT_TRUE(sink_.error);
  EXPECT_NE(sink_.error->error.message.find("there are no tools"), std::string::npos);
  sink_ = {};
  forced.chat.allowed_tools = {"g"};
  handle = requests_.Start(forced, sink_);
  RunUntil([&] { return sink_.done; });
  ASSERT_TRUE(sink_.error);
  EXPECT_NE(sink_.error->error.message.find("'g'"), std::string::npos);
  sink_ = {};
  handle = requests_.Start({.model = "exo-tiny", .prompt = "a", .suffix = "b"}, sink_);
  RunUntil([&] { return sink_.done; });
  ASSERT_TRUE(sink_.error);
  EXPECT_NE(sink_.error->error.message.find("fill in the middle"), std::string::npos);
}

// ---- what is told of requests ----

TEST_F(RequestsTest, ACallIsListedWithItsTrace) {
  RequestId call;
  call.bytes[0] = 9;
  const auto handle = requests_.Start(
      {.model = "exo-tiny", .messages = {{"user", "Hi"}}, .asker = {.name = "me", .call = call}},
      sink_);
  RunUntil([&] { return submitted_.has_value(); });
  EXPECT_EQ(submitted_->request, call) << "the log's name is the client's";
  const auto record = requests_.records().Find(call);
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->view().state, RequestState::kPrompt);
  EXPECT_EQ(record->view().prompt_tokens, submitted_->prompt.size());
  const auto stage = [](uint64_t us) {
    return std::vector<wire::StageTime>{{.layer_end = 8, .microseconds = us}};
  };
  requests_.OnTokens({.request = call,
                      .tokens = TokensOf("It"),
                      .stages = stage(90),
                      .steps = {{.returned_us = 90, .done_us = 100, .rows = 5, .stage_us = {90}}}});
  EXPECT_EQ(record->view().state, RequestState::kAnswering);
  requests_.OnFinished(
      {.request = call,
       .stages = stage(120),
       .steps = {
           {.begun_us = 100, .returned_us = 130, .done_us = 140, .rows = 1, .stage_us = {30}}}});
  EXPECT_EQ(record->view().state, RequestState::kDone);
  std::string names;
  for (const TraceSpan& span : record->trace()->Spans("here", [](auto&) { return "desk"; }))
    names += std::string(TraceSpanName(span.kind)) + " ";
  // A template of a chat takes less than a microsecond only by a wonder.
  EXPECT_NE(names.find("template tokenize "), std::string::npos) << names;
  EXPECT_TRUE(names.ends_with("prompt stage sample token stage sample ")) << names;
  const NodeMetrics metrics = requests_.Metrics();
  const ModelMetrics& model = metrics.models.at("exo-tiny");
  EXPECT_EQ(model.stopped, 1u);
  EXPECT_EQ(model.generated_tokens, TokensOf("It").size());
  EXPECT_EQ(model.first_token.count(), 1u);
  EXPECT_DOUBLE_EQ(model.prefill.sum(), 100e-6);
  EXPECT_EQ(model.whole.count(), 1u);
  EXPECT_DOUBLE_EQ(requests_.stage_seconds().at(NodeId{}), 120e-6);
}

TEST_F(RequestsTest, APersonEndsACallWithAllItsChoices) {
  GenerateRequest request{.model = "exo-tiny", .prompt = "Once", .choices = 2};
  const auto handle = requests_.Start(request, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  const RequestId call = submitted_->request;
  requests_.OnTokens({.request = call, .tokens = TokensOf("upon")});
  EXPECT_EQ(requests_.count(), 2u);
  EXPECT_TRUE(requests_.Cancel(call));
  EXPECT_EQ(cancels_, 2);
  ASSERT_TRUE(sink_.error);
  EXPECT_EQ(sink_.error->refusal, Refusal::kCanceled);
  const RequestView& view = requests_.records().Find(call)->view();
  EXPECT_EQ(view.state, RequestState::kCanceled);
  EXPECT_EQ(view.error, sink_.error->error.message);
  EXPECT_FALSE(requests_.Cancel(call)) << "it has ended";
  EXPECT_EQ(requests_.Metrics().models.at("exo-tiny").aborted, 2u);
}

TEST_F(RequestsTest, AClientThatGoesAwayIsNoFailure) {
  auto handle = requests_.Start({.model = "exo-tiny", .prompt = "Once"}, sink_);
  RunUntil([&] { return submitted_.has_value(); });
  handle.reset();
  const RequestView& view = requests_.records().All().at(0)->view();
  EXPECT_EQ(view.state, RequestState::kCanceled);
  EXPECT_EQ(view.error, "canceled by its client");
}

std::vector<std::string> g_prompt_lines;

TEST_F(RequestsTest, PromptsAreLoggedOnlyWhereASettingSaysSo) {
  SetLog([](LogLevel, std::string_view line) { g_prompt_lines.emplace_back(line); },
         LogLevel::kDebug);
  for (const bool logs : {false, true}) {
    log_prompts_ = logs;
    submitted_.reset();
    const auto handle = requests_.Start({.model = "exo-tiny", .prompt = "a secret"}, sink_);
    RunUntil([&] { return submitted_.has_value(); });
    Answer("kept", wire::FinishReason::kStop);
    if (!logs) EXPECT_TRUE(g_prompt_lines.empty());
  }
  SetLog(nullptr, LogLevel::kWarning);
  ASSERT_EQ(g_prompt_lines.size(), 1u);
  EXPECT_TRUE(g_prompt_lines[0].starts_with("request=" + submitted_->request.Short() + " prompt"));
  EXPECT_TRUE(g_prompt_lines[0].ends_with(": a secret")) << g_prompt_lines[0];
}

// An error about the input quotes it: to its client, and to nobody else.
TEST_F(RequestsTest, WhatWasWrongWithAnInputIsToldToItsClientOnly) {
  GenerateRequest forced{.model = "exo-tiny", .messages = {{"user", "a"}}};
  forced.chat.tool_use = ToolUse::kRequired;
  forced.chat.allowed_tools = {"secret_tool"};
  for (const bool logs : {false, true}) {
    log_prompts_ = logs;
    sink_ = {};
    const auto handle = requests_.Start(forced, sink_);
    RunUntil([&] { return sink_.done; });
    ASSERT_TRUE(sink_.error);
    EXPECT_NE(sink_.error->error.message.find("'secret_tool'"), std::string::npos);
    EXPECT_EQ(changes_.back().contains("secret"), logs) << changes_.back();
    EXPECT_EQ(requests_.records().All().at(0)->view().error.contains("secret"), logs);
  }
}

}  // namespace
}  // namespace exo::node
