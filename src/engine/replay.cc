#include "engine/replay.h"

#include <algorithm>

#include "engine/lead_loop.h"
#include "sys/system.h"

namespace exo::engine {

Replay::Replay(std::shared_ptr<const model::ModelConfig> config,
               std::unique_ptr<backend::StageCompute> compute, uint32_t chunk)
    : config_(config), stage_(std::move(config), std::move(compute)), chunk_(chunk) {}

Result<ReplayRun> Replay::Run(const std::vector<TokenId>& tokens, uint32_t prompt,
                              LeadOptions lead) {
  const auto vocab = static_cast<TokenId>(config_->vocab);
  const auto foreign =
      std::ranges::find_if(tokens, [&](TokenId token) { return token < 0 || token >= vocab; });
  if (foreign != tokens.end()) {
    return Fail(ErrorCode::kInvalid, "token {} is not in the vocabulary of {}", *foreign, vocab);
  }
  if (prompt == 0 || tokens.size() < size_t{prompt} + 2) {
    return Fail(ErrorCode::kInvalid, "{} recorded tokens, a prompt of {} and two more are needed",
                tokens.size(), prompt);
  }
  RunnerOptions options;
  options.plan.id.bytes[0] = ++runs_;
  options.plan.stages = {{.layer_begin = 0, .layer_end = config_->layers}};
  options.plan.layers = config_->layers;
  options.plan.context = static_cast<uint32_t>(tokens.size()) + 1;
  options.plan.kv_pages = static_cast<uint32_t>(wire::PagesOf(options.plan.context));
  options.plan.chunk = chunk_;
  options.lead = lead;
  options.recorded = &tokens;
  stage_.Bind(options.plan);

  ReplayRun run;
  std::atomic<bool> stop{false};
  Error error{ErrorCode::kIo, ""};
  const Time begin = sys::Now();
  Time first{};
  RunnerEvents events;
  events.on_tokens = [&](const wire::Tokens&) {
    if (first == Time{}) first = sys::Now();
  };
  events.on_queued = [](const RequestId&, uint32_t) {};
  events.on_stale = [](const wire::StaleRows&) {};
  events.on_finished = [&](const wire::Finished& finished) {
    error = {finished.code, finished.message};
    stop.store(true);
  };
  LeadCommands commands;
  CancellationSet cancelled;
  GrammarMasks masks([]() -> Result<std::shared_ptr<const model::Tokenizer>> {
    return Fail(ErrorCode::kUnsupported, "a replay has no grammar");
  });
  LeadLoop loop(options, stage_, commands, cancelled, {}, events, masks);
  wire::Submit submit{.plan = options.plan.id,
                      .prompt = {tokens.begin(), tokens.begin() + prompt},
                      .prompt_tokens = prompt,
                      .max_new_tokens = static_cast<uint32_t>(tokens.size()) - prompt};
  submit.request.bytes[0] = runs_;
  commands.Push(std::move(submit));
  TRY(loop.Run(stop));
  if (first == Time{}) return std::unexpected(error);
  run.prompt_seconds = std::chrono::duration<double>(first - begin).count();
  run.answer_seconds = std::chrono::duration<double>(sys::Now() - first).count();
  run.stats = loop.stats();
  return run;
}

}  // namespace exo::engine
