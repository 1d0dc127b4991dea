// `exo demo` and `exo bench --nodes`: the same cluster of processes on this machine.
#include <fmt/format.h>

#include <algorithm>

#include "app/ask.h"
#include "app/client_commands.h"
#include "app/demo_cluster.h"
#include "app/local_engine.h"
#include "app/model_path.h"
#include "app/output.h"
#include "app/terminal.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/text.h"
#include "kernels/kernels.h"
#include "sys/process.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;

// What happens, on standard output unless JSON goes there.
class Teller {
 public:
  explicit Teller(bool to_stderr) : to_stderr_(to_stderr) {}
  template <class... Args>
  void Say(fmt::format_string<Args...> format, Args&&... args) {
    const std::string text = fmt::format(format, std::forward<Args>(args)...);
    if (to_stderr_) return WriteNote(text);
    Write(text);
    (void)FlushOutput();  // lost output is told at the end
  }

 private:
  bool to_stderr_;
};

// Adds the model file to the first node when it was given by path; its name.
Result<std::string> NameInCluster(const DemoCluster& cluster, const std::string& model) {
  if (!LooksLikePath(model)) return model;
  const json added =
      TRY(cluster.api().Post("/v1/internal/models", {{"path", TRY(PathForNode(model))}}));
  return added.value("model", model);
}

// An answer to a prompt that no other one begins like.
Result<json> AskRandom(const DemoCluster& cluster, const std::string& model, Rng& rng,
                       uint32_t prompt_tokens, uint32_t max_tokens) {
  std::vector<TokenId> prompt(prompt_tokens);
  // Ids below every usual vocabulary's control tokens.
  for (TokenId& token : prompt) token = static_cast<TokenId>(3 + rng.Below(250));
  return cluster.api().Post(
      "/v1/completions",
      {{"model", model}, {"prompt", prompt}, {"max_tokens", max_tokens}, {"temperature", 0}});
}

// Of an answer of one token: the part of its time that the slowest stage computed. The others'
// first chunk before it and their last one behind it count as waiting, as links do.
double BusyPart(const json& report) {
  double slowest = 0;
  for (const json& stage : report.value("stages", json::array()))
    slowest = std::max(slowest, stage.value("ms", 0.0));
  const double whole = report.value("ttft_ms", 0.0);
  return whole > 0 ? slowest / whole : 0;
}

}  // namespace

Result<void> RunDemo(const Settings& settings, const DemoOptions& options) {
  if (options.nodes < 1 || options.nodes > 16)
    return Fail(ErrorCode::kInvalid, "--nodes {} is not 1 to 16", options.nodes);
  sys::IgnoreBrokenPipes();  // the nodes and their folder must go in any case
  const int stop_fd = TRY(sys::StopSignals());
  Teller teller(options.ask.json);
  teller.Say("starting {} node{} on this machine ...\n", options.nodes,
             options.nodes == 1 ? "" : "s");
  const auto cluster = TRY(DemoCluster::Start(settings, {.nodes = options.nodes,
                                                         .threads = options.threads,
                                                         .node_arguments = {},
                                                         .stop_fd = stop_fd}));
  teller.Say("  {} found each other over TLS in {:.1f} s\n",
             options.nodes == 1 ? "it is up; nobody else to be" : "they",
             cluster->seconds_to_find_each_other());

  AskOptions ask = options.ask;
  ask.prompt = ToUtf8(ask.prompt);
  ask.model = TRY(NameInCluster(*cluster, ask.model));
  const char* what = options.split == "tensor"   ? "each layer of "
                     : options.split == "hybrid" ? "groups of layers of "
                                                 : "";
  teller.Say("placing {}{} over {} ...\n", what, Printable(ask.model),
             options.nodes == 1 ? "it" : "all of them");
  const Time load_start = sys::Now();
  const json plan = TRY(cluster->api().Post(
      "/v1/internal/load",
      {{"model", ask.model}, {"split", options.split}, {"wire", options.wire}}));
  teller.Say("  loaded in {:.1f} s\n", Seconds(sys::Now() - load_start));

  if (!options.ask.json) {
    teller.Say("\n{} {}\n{} ", Bold("you:"), Printable(ask.prompt, "\n\t"),
               Bold(Printable(ask.model) + ":"));
  }
  const Answer answer = TRY(Ask(cluster->api(), ask, [&](std::string_view text) {
    if (!options.ask.json) WriteAnswer(text);
  }));
  const double speed = answer.report.value("tokens_per_second", 0.0);
  teller.Say("\n\nwho computed what:\n{}{:.1f} tokens/s measured, first token after {:.0f} ms\n",
             DescribeStages(answer.report), speed, answer.report.value("ttft_ms", 0.0));
  if (options.ask.json) {
    json stages = json::array();
    for (const json& stage : answer.report.value("stages", json::array())) {
      stages.push_back({{"node", stage.value("node", "")},
                        {"first", stage.value("layer_begin", 0)},
                        {"last", stage.value("layer_end", 0) - 1},
                        {"milliseconds", stage.value("ms", 0.0)}});
    }
    PrintJson({{"text", answer.text},
               {"token_ids", answer.report.value("token_ids", json::array())},
               {"stages", stages},
               {"wire", answer.report.value("wire", "")},
               {"tokens_per_second", speed},
               {"ttft_ms", answer.report.value("ttft_ms", 0.0)}});
  }
  return {};
}

Result<void> RunClusterBench(const Settings& settings, const BenchOptions& options) {
  sys::IgnoreBrokenPipes();  // the nodes and their folder must go in any case
  const int stop_fd = TRY(sys::StopSignals());
  const Time start = sys::Now();
  const auto cluster = TRY(DemoCluster::Start(settings, {.nodes = options.nodes,
                                                         .threads = std::max(options.threads, 1u),
                                                         .node_arguments = {},
                                                         .stop_fd = stop_fd}));
  const std::string model = TRY(NameInCluster(*cluster, options.model));
  TRY(cluster->api().Post("/v1/internal/load",
                          {{"model", model}, {"split", options.split}, {"wire", options.wire}}));
  const double load = Seconds(sys::Now() - start);
  Rng rng(12345);
  json stages;
  std::vector<double> pp, tg, ttft, busy;
  for (uint32_t run = 0; run <= options.runs; ++run) {
    const json answer =
        TRY(AskRandom(*cluster, model, rng, std::max(options.pp, 1u), std::max(options.tg, 1u)));
    const json prefill = TRY(AskRandom(*cluster, model, rng, std::max(options.pp, 1u), 1));
    if (run == 0) continue;  // warm-up
    pp.push_back(answer["exo"].value("prompt_tokens_per_second", 0.0));
    tg.push_back(answer["exo"].value("tokens_per_second", 0.0));
    ttft.push_back(answer["exo"].value("ttft_ms", 0.0));
    busy.push_back(BusyPart(prefill["exo"]));
    stages = answer["exo"]["stages"];
  }
  const json sent = TRY(cluster->api().Get("/v1/cluster")).value("sent", json::object());
  const double sent_rows = std::max(sent.value("rows", 0.0), 1.0);
  const json report = {{"model", model},
                       {"nodes", options.nodes},
                       {"split", options.split},
                       {"wire", options.wire},
                       {"wire_bytes_per_token", sent.value("bytes", 0.0) / sent_rows},
                       {"threads", std::max(options.threads, 1u)},
                       {"pp", options.pp},
                       {"pp_tps", Median(pp)},
                       {"tg", options.tg},
                       {"tg_tps", Median(tg)},
                       {"pp_runs", pp},
                       {"tg_runs", tg},
                       {"ttft_ms", Median(ttft)},
                       {"slowest_stage_busy", Median(busy)},
                       {"load_all_s", load},
                       {"kv", "f16"},
                       {"depth", 0},
                       {"batch", 1},
                       {"stages", stages}};
  if (options.json) {
    PrintJson(report);
  } else {
    Print("{} over {} nodes: prompt {:.2f} tokens/s, decode {:.2f} tokens/s", Printable(model),
          options.nodes, Median(pp), Median(tg));
    Print(
        "; the slowest stage computes {:.0f} % of a prompt's time; {} between them, {} bytes a "
        "token and link\n",
        100 * Median(busy), options.wire, report.value("wire_bytes_per_token", 0.0));
  }
  return {};
}

}  // namespace exo::app
