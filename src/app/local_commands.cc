#include "app/local_commands.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "app/local_engine.h"
#include "app/model_path.h"
#include "app/output.h"
#include "backend/devices.h"
#include "base/random.h"
#include "base/text.h"
#include "base/units.h"
#include "engine/local.h"
#include "engine/sampler.h"
#include "model/tokenizer.h"
#include "store/model.h"
#include "sys/files.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;

// The benchmark's state: sequences 1..batch, filled to `depth`.
class Bench {
 public:
  Bench(engine::LocalModel& model, const BenchOptions& options) : model_(model), options_(options) {
    logits_.resize(size_t{options.batch} * model.config().vocab);
  }

  Result<void> Prepare() {
    for (uint32_t i = 0; i < options_.batch; ++i) {
      TRY(model_.Open(kFilled + i, options_.depth));
      TRY(model_.Append(kFilled + i, 0, RandomTokens(options_.depth), 0, {}));
    }
    return Clear();
  }
  // One prompt pass with the logits of the last token; tokens per second.
  Result<double> Prompt(uint32_t count) {
    const auto tokens = RandomTokens(count);
    const Time start = sys::Now();
    TRY(model_.Append(1, options_.depth, tokens, 1,
                      std::span(logits_).first(model_.config().vocab)));
    const double seconds = Seconds(sys::Now() - start);
    TRY(Clear());
    return count / seconds;
  }
  // `count` single-token passes of all sequences, sampled greedily; tokens per second in all.
  Result<double> Generate(uint32_t count) {
    std::vector<engine::LocalModel::Next> next;
    for (uint32_t i = 0; i < options_.batch; ++i)
      next.push_back({1 + i, options_.depth, RandomTokens(1)[0]});
    const size_t vocab = model_.config().vocab;
    const Time start = sys::Now();
    for (uint32_t step = 0; step < count; ++step) {
      TRY(model_.Step(next, logits_));
      for (uint32_t i = 0; i < options_.batch; ++i) {
        next[i].token = TRY(engine::Argmax(std::span(logits_).subspan(i * vocab, vocab)));
        ++next[i].position;
      }
    }
    const double seconds = Seconds(sys::Now() - start);
    TRY(Clear());
    return count * options_.batch / seconds;
  }

 private:
  std::vector<TokenId> RandomTokens(uint32_t count) {
    std::vector<TokenId> tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(rng_.Below(model_.config().vocab));
    return tokens;
  }
  // Sequences that hold `depth` positions; each pass goes on from forks of them, since layers with
  // a window cannot be cut back.
  static constexpr backend::SequenceId kFilled = 1u << 20;

  Result<void> Clear() {
    const uint32_t capacity = options_.depth + std::max({options_.pp, options_.tg, 64u}) + 8;
    for (uint32_t i = 0; i < options_.batch; ++i) {
      model_.Close(1 + i);
      TRY(model_.Fork(kFilled + i, options_.depth, 1 + i, capacity));
    }
    return {};
  }

  engine::LocalModel& model_;
  const BenchOptions& options_;
  Rng rng_{12345};
  std::vector<float> logits_;
};

}  // namespace

Result<void> RunBench(const Settings& settings, const BenchOptions& options) {
  if (options.batch == 0 || options.runs == 0) {
    return Fail(ErrorCode::kInvalid, "--batch and --runs must be at least 1");
  }
  const Time start = sys::Now();
  const LocalEngine engine = TRY(LoadEngine(settings, options.model, options.threads,
                                            {.kv_type = options.kv, .chunk = options.chunk}));
  Bench bench(*engine.model, options);
  const double load = Seconds(sys::Now() - start);
  TRY(bench.Prepare());
  if (options.pp > 0) (void)TRY(bench.Prompt(std::min<uint32_t>(options.pp, 64)));
  if (options.tg > 0) (void)TRY(bench.Generate(2));
  std::vector<double> pp, tg;
  for (uint32_t run = 0; run < options.runs; ++run) {
    if (options.pp > 0) pp.push_back(TRY(bench.Prompt(options.pp)));
    if (options.tg > 0) tg.push_back(TRY(bench.Generate(options.tg)));
  }
  const json report = {{"model", engine.file->name()},
                       {"threads", engine.backend->device().cores},
                       {"isa", engine.backend->device().isa},
                       {"depth", options.depth},
                       {"batch", options.batch},
                       {"kv", kernels::KvTypeName(options.kv)},
                       {"pp", options.pp},
                       {"pp_tps", Median(pp)},
                       {"tg", options.tg},
                       {"tg_tps", Median(tg)},
                       {"pp_runs", pp},
                       {"tg_runs", tg},
                       {"load_all_s", load},
                       {"weights_mib", static_cast<double>(engine.model->weights_bytes()) / kMiB},
                       {"peak_rss_mib", sys::PeakResidentBytes() / kMiB},
                       {"anon_mib", sys::AnonymousBytes() / kMiB}};
  if (options.json) {
    PrintJson(report);
    return {};
  }
  Print("{}  {}  load {:.2f} s, peak memory {} MiB\n", Printable(engine.file->name()),
        engine.backend->Describe(), load, sys::PeakResidentBytes() / kMiB);
  if (options.pp > 0) Print("  prompt {:5} tokens  {:10.2f} tokens/s\n", options.pp, Median(pp));
  if (options.tg > 0) Print("  decode {:5} tokens  {:10.2f} tokens/s\n", options.tg, Median(tg));
  return {};
}

Result<void> RunLogits(const Settings& settings, const LogitsOptions& options) {
  TRY(store::CheckIsAnotherFile(TRY(FindModelPath(settings, options.model)), options.out));
  const auto out = TRY(sys::FileWriter::Create(options.out, 0644));  // before the work
  const LocalEngine engine =
      TRY(LoadEngine(settings, options.model, options.threads,
                     {.kv_type = options.kv, .chunk = options.chunk}, options.lora));
  const auto tokenizer = TRY(model::Tokenizer::Load(engine.file->manifest().gguf()));
  std::vector<TokenId> tokens = tokenizer->Encode(options.prompt, false);
  if (tokenizer->add_bos() && tokenizer->bos() >= 0)
    tokens.insert(tokens.begin(), tokenizer->bos());
  if (tokens.empty()) return Fail(ErrorCode::kInvalid, "the prompt has no tokens");
  const size_t vocab = engine.model->config().vocab;
  std::vector<float> logits(tokens.size() * vocab);
  TRY(engine.model->Open(1, static_cast<uint32_t>(tokens.size()), engine.adapters));
  TRY(engine.model->Append(1, 0, tokens, tokens.size(), logits));
  TRY(out->Append(std::as_bytes(std::span(logits))));
  TRY(out->Commit());
  if (options.json) {
    PrintJson(
        {{"positions", tokens.size()}, {"vocab", vocab}, {"ids", tokens}, {"out", options.out}});
  } else {
    Print("{}: {} positions x {} logits, f32\n", Printable(options.out), tokens.size(), vocab);
  }
  return {};
}

Result<void> RunTokenize(const Settings& settings, const TokenizeOptions& options) {
  const auto file = TRY(store::ModelFile::Open(TRY(FindModelPath(settings, options.model)),
                                               {.manifest = {.identify = false}}));
  const auto tokenizer = TRY(model::Tokenizer::Load(file->manifest().gguf()));
  std::string text;
  if (options.file.empty()) {
    text = TRY(sys::ReadStandardInput(1u << 30));
  } else {
    text = TRY(sys::ReadFile(options.file, 1u << 30));
  }
  const std::vector<TokenId> ids = tokenizer->Encode(text, options.special);
  if (options.json) {
    PrintJson({{"ids", ids}, {"count", ids.size()}});
    return {};
  }
  for (const TokenId id : ids)
    Print("{:7}  {}\n", id,
          json(tokenizer->Bytes(id, true)).dump(-1, ' ', true, json::error_handler_t::replace));
  return {};
}

}  // namespace exo::app
