// exo bench --replay: what speculation gains on a recorded text.
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "app/local_commands.h"
#include "app/local_engine.h"
#include "app/output.h"
#include "base/text.h"
#include "engine/replay.h"
#include "sys/files.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxReplayFile = uint64_t{1} << 28;

// What `exo tokenize --json` prints, a list of numbers, or numbers between spaces.
Result<std::vector<TokenId>> ReadTokens(const std::string& path) {
  const std::string text = TRY(sys::ReadPlainFile(path, kMaxReplayFile));
  json list = json::parse(text, nullptr, false);
  if (list.is_object() && list.contains("ids")) list = json(list["ids"]);
  if (list.is_array()) {
    std::vector<TokenId> tokens;
    for (const json& id : list) {
      if (!id.is_number_integer() || id < 0 || id > INT32_MAX)
        return Fail(ErrorCode::kInvalid, "{}: {} is not a token's number", path, id.dump());
      tokens.push_back(id.get<TokenId>());
    }
    return tokens;
  }
  std::vector<TokenId> tokens;
  const char* end = text.data() + text.size();
  for (const char* at = text.data();;) {
    while (at != end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
    if (at == end) return tokens;
    TokenId token = 0;
    const auto [next, error] = std::from_chars(at, end, token);
    if (error != std::errc()) {
      return Fail(ErrorCode::kInvalid,
                  "{}: '{}' is not a token's number; `exo tokenize --json` writes such a file",
                  path,
                  Printable(std::string(at, std::min<size_t>(16, static_cast<size_t>(end - at)))));
    }
    tokens.push_back(token);
    at = next;
  }
}

double Speed(const engine::ReplayRun& run, size_t answer) {
  return static_cast<double>(answer - 1) / run.answer_seconds;
}

// A prompt of --pp tokens, and an answer of --tg or as many as there are.
Result<std::vector<TokenId>> ReadRecorded(const BenchOptions& options) {
  std::vector<TokenId> tokens = TRY(ReadTokens(options.replay));
  if (options.pp < 1 || options.tg < 2) {
    return Fail(
        ErrorCode::kInvalid,
        "--pp is {} and --tg is {}; a recorded text is replayed with a prompt of at least 1 "
        "token and an answer of at least 2",
        options.pp, options.tg);
  }
  if (tokens.size() < size_t{options.pp} + 2) {
    return Fail(ErrorCode::kInvalid,
                "{} has {} tokens; a prompt of {} (--pp) and an answer need at least {}",
                options.replay, tokens.size(), options.pp, options.pp + 2);
  }
  const size_t wanted = size_t{options.pp} + options.tg;
  if (tokens.size() > wanted) tokens.resize(wanted);
  return tokens;
}

}  // namespace

Result<void> RunReplay(const Settings& settings, const BenchOptions& options) {
  const std::vector<TokenId> tokens = TRY(ReadRecorded(options));
  const auto engine = TRY(OpenEngine(settings, options.model, options.threads,
                                     {.kv_type = options.kv, .chunk = options.chunk}));
  const store::Manifest& manifest = engine.file->manifest();
  const backend::StageSpec spec = {.config = manifest.config(),
                                   .tensors = manifest.tensors(),
                                   .layer_begin = 0,
                                   .layer_end = manifest.config()->layers,
                                   .lead = true,
                                   .kv_type = options.kv,
                                   .chunk = options.chunk};
  engine::Replay replay(manifest.config(),
                        TRY(engine.backend->Load(spec, *engine.source, {}, nullptr)),
                        options.chunk);
  const size_t answer = tokens.size() - std::min<size_t>(tokens.size(), options.pp);
  std::vector<double> plain, drafted, ratios;
  engine::LeadStats stats;
  for (uint32_t run = 0; run < options.runs; ++run) {
    double speeds[2] = {};
    for (const bool speculate : {run % 2 == 0, run % 2 != 0}) {
      const auto done =
          TRY(replay.Run(tokens, options.pp, {.prefix_cache = false, .speculate = speculate}));
      speeds[speculate] = Speed(done, answer);
      if (speculate) stats = done.stats;
    }
    plain.push_back(speeds[0]);
    drafted.push_back(speeds[1]);
    ratios.push_back(speeds[1] / speeds[0]);
  }
  if (options.json) {
    PrintJson({{"model", engine.file->name()},
               {"threads", engine.backend->device().cores},
               {"isa", engine.backend->device().isa},
               {"pp", options.pp},
               {"tg", answer},
               {"plain_tps", Median(plain)},
               {"speculation_tps", Median(drafted)},
               {"ratio", Median(ratios)},
               {"ratios", ratios},
               {"drafted", stats.drafted_rows},
               {"accepted", stats.accepted_drafts}});
    return {};
  }
  Print("{}  {}\n", Printable(engine.file->name()), engine.backend->Describe());
  Print("  plain        {:10.2f} tokens/s\n", Median(plain));
  Print(
      "  speculation  {:10.2f} tokens/s, {:.2f} times plain; {} tokens drafted, {} of them right\n",
      Median(drafted), Median(ratios), stats.drafted_rows, stats.accepted_drafts);
  return {};
}

}  // namespace exo::app
