// The `exo` command: parses the command line and hands over to one function per command.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "app/client_commands.h"
#include "app/exit_codes.h"
#include "app/local_commands.h"
#include "app/model_commands.h"
#include "app/model_path.h"
#include "app/secret_commands.h"
#include "app/up.h"
#include "base/log.h"
#include "base/units.h"
#include "node/version.h"
#include "sys/system.h"

namespace exo::app {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int Report(const Result<void>& result) {
  if (result) return kExitOk;
  std::fflush(stdout);
  fmt::print(stderr, "exo: {}\n", result.error().message);
  return ExitCodeFor(result.error().code);
}

// Options of one command, bound to CLI11 and turned into a call.
struct Commands {
  CLI::App app{"One computer out of the devices you already own."};
  std::function<Result<void>()> chosen;

  bool json = false;
  UpOptions up;
  std::string memory_limit;
  AskOptions ask;
  uint32_t max_tokens = 0;
  uint64_t seed = 0;
  DemoOptions demo;
  BenchOptions bench;
  LogitsOptions logits;
  TokenizeOptions tokenize;
  std::string removed;
  PrepareOptions prepare;
  QuantizeOptions quantize;
  std::string kv = "f16";
  std::string plan_model;
  bool plan_spread = false;
  SecretOptions secret;

  Commands() {
    app.require_subcommand(1);
    app.set_version_flag("--version", std::string("exo ") + node::kVersion);
    AddUp();
    AddRun();
    AddViews();
    AddDemo();
    AddMeasures();
    AddModelCommands();
    AddSecret();
  }

  CLI::App* Add(const char* name, const char* what, std::function<Result<void>()> action) {
    CLI::App* command = app.add_subcommand(name, what);
    command->callback([this, action = std::move(action)] { chosen = action; });
    return command;
  }

  void AddUp() {
    CLI::App* c = Add("up", "start this device's node and its API", [this] { return Up(); });
    c->add_option("--name", up.node.name, "name of this device (default: the host's)");
    c->add_option("--port", up.node.port,
                  "port for other devices (default 52416, or any free one when it is taken)");
    c->add_option("--api-port", up.api_port,
                  "port of the API on this machine (default 52415; 0: any free one)");
    c->add_option("--peer", up.node.peers,
                  "HOST:PORT of another device, for networks without discovery");
    c->add_option("--threads", up.node.threads, "compute threads (default: all cores)")
        ->check(CLI::Range(1, 1024));
    c->add_option("--memory-limit", memory_limit,
                  "memory for models, for example 8GiB (default: what is free)");
    c->add_flag("--loopback", up.node.loopback, "see and serve nodes of this machine only");
  }
  Result<void> Up() {
    const CLI::App* c = app.get_subcommand("up");
    up.node.port_required = c->count("--port") > 0;
    if (c->count("--port") == 0) up.node.port = kDefaultPeerPort;
    if (!memory_limit.empty()) up.node.memory_limit = TRY(ParseSize(memory_limit));
    if (up.node.name.empty()) up.node.name = sys::HostName();
    up.node.data_folder = sys::DataFolder();
    up.node.isa = Environment("EXO_ISA");
    up.node.secret = Environment("EXO_CLUSTER_SECRET");
    up.node.model_folders = ModelFolders();
    return RunUp(up);
  }

  void AddAsk(CLI::App* c, AskOptions& options) {
    c->add_flag("--raw", options.raw, "no chat template: continue the prompt");
    c->add_option("--max-tokens", max_tokens, "tokens to generate at most")
        ->check(CLI::Range(1, 10'000'000));
    c->add_option("--temperature", options.temperature, "0: always the likeliest token")
        ->check(CLI::Range(0.0, 2.0));
    c->add_option("--seed", seed, "same seed, same answer");
    c->add_flag("--json", options.json, "print one JSON object");
  }
  void TakeAsk(const char* command, AskOptions& options) {
    const CLI::App* c = app.get_subcommand(command);
    if (c->count("--max-tokens") > 0) options.max_tokens = max_tokens;
    if (c->count("--seed") > 0) options.seed = seed;
  }

  void AddRun() {
    CLI::App* c = Add("run", "ask a model; loads it where it fits best", [this] {
      TakeAsk("run", ask);
      return RunRun(ask);
    });
    c->add_option("MODEL", ask.model, "name or path of a GGUF file")->required();
    c->add_option("PROMPT", ask.prompt, "what to say (default: standard input)");
    c->add_flag("--spread", ask.spread, "place the model over all devices");
    AddAsk(c, ask);
  }

  void AddViews() {
    Add("devices", "which devices are there", [this] {
      return RunDevices(json);
    })->add_flag("--json", json);
    Add("ps", "which models run where", [this] { return RunPs(json); })->add_flag("--json", json);
    Add("models", "which models can be run", [this] {
      return RunModels(json);
    })->add_flag("--json", json);
    CLI::App* c = Add("plan", "where a model would go and how fast it would be, without loading it",
                      [this] { return RunPlan(plan_model, plan_spread, json); });
    c->add_option("MODEL", plan_model, "name or path of a GGUF file")->required();
    c->add_flag("--spread", plan_spread, "over all devices");
    c->add_flag("--json", json);
  }

  void AddDemo() {
    demo.ask.model = "exo-tiny";
    demo.ask.prompt = "What is exo?";
    demo.ask.temperature = 0;
    CLI::App* c =
        Add("demo", "a cluster of several nodes on this machine answers a question", [this] {
          TakeAsk("demo", demo.ask);
          if (!demo.ask.max_tokens) demo.ask.max_tokens = 128;
          return RunDemo(demo);
        });
    c->add_option("--nodes", demo.nodes, "how many (default 3)");
    c->add_option("--threads", demo.threads, "compute threads of each (default 1)")
        ->check(CLI::Range(1, 1024));
    c->add_option("--model", demo.ask.model, "name or path of a GGUF file");
    c->add_option("--prompt", demo.ask.prompt, "the question");
    AddAsk(c, demo.ask);
  }

  void AddMeasures() {
    CLI::App* b = Add("bench", "measure prompt and decode speed, load time and memory",
                      [this]() -> Result<void> {
                        bench.kv = TRY(kernels::KvTypeNamed(kv));
                        return bench.nodes > 0 ? RunClusterBench(bench) : RunBench(bench);
                      });
    b->add_option("--model", bench.model, "name or path of a GGUF file")->required();
    b->add_option("--pp", bench.pp, "prompt tokens (512; 0: none)");
    b->add_option("--tg", bench.tg, "generated tokens (128; 0: none)");
    b->add_option("--depth", bench.depth, "tokens already in the cache");
    b->add_option("--batch", bench.batch, "sequences decoded together");
    b->add_option("--threads", bench.threads, "compute threads (default: all cores)");
    b->add_option("--runs", bench.runs, "repetitions; medians are printed (3)");
    b->add_option("--chunk", bench.chunk, "prompt tokens of one step (256)")
        ->check(CLI::Range(1, 8192));
    b->add_option("--nodes", bench.nodes, "measure a cluster of so many nodes on this machine");
    b->add_option("--kv", kv, "type of the KV cache: f16, f32 or q8_0");
    b->add_flag("--json", bench.json);

    CLI::App* l =
        Add("logits", "write the logits of each position of a prompt", [this]() -> Result<void> {
          logits.kv = TRY(kernels::KvTypeNamed(kv));
          return RunLogits(logits);
        });
    l->add_option("--model", logits.model, "name or path of a GGUF file")->required();
    l->add_option("--prompt", logits.prompt, "the text")->required();
    l->add_flag("--raw", logits.raw, "no chat template (always so here)");
    l->add_option("--threads", logits.threads, "compute threads (default: all cores)");
    l->add_option("--chunk", logits.chunk, "positions of one step")->check(CLI::Range(1, 8192));
    l->add_option("--kv", kv, "type of the KV cache: f16, f32 or q8_0");
    l->add_option("--out", logits.out, "file: f32 [positions][vocabulary]")->required();
    l->add_flag("--json", logits.json);

    CLI::App* t =
        Add("tokenize", "print the token ids of a text", [this] { return RunTokenize(tokenize); });
    t->add_option("--model", tokenize.model, "name or path of a GGUF file")->required();
    t->add_option("--file", tokenize.file, "the text (default: standard input)");
    t->add_flag("--special", tokenize.special, "control tokens written in the text are recognized");
    t->add_flag("--json", tokenize.json);
  }

  void AddModelCommands() {
    CLI::App* r = Add("rm", "forget a model that was added by its path; the file stays",
                      [this] { return RunRemove(removed, json); });
    r->add_option("MODEL", removed, "name or path of the file (exo models)")->required();
    r->add_flag("--json", json);
    CLI::App* p = Add("prepare", "pack a model once, so that later starts take no time",
                      [this] { return RunPrepare(prepare); });
    p->add_option("MODEL", prepare.model, "name or path of a GGUF file")->required();
    p->add_flag("--remove", prepare.remove, "remove the prepared file again");
    p->add_option("--threads", prepare.threads, "compute threads (default: all cores)")
        ->check(CLI::Range(1, 1024));
    p->add_flag("--json", prepare.json);

    CLI::App* q = Add("quantize", "write a model with its weights as smaller blocks",
                      [this] { return RunQuantize(quantize); });
    q->add_option("IN", quantize.source, "name or path of a GGUF file")->required();
    q->add_option("OUT", quantize.target, "the file to write")->required();
    q->add_option("TYPE", quantize.type, "Q4_0, Q8_0, Q4_K, Q5_K or Q6_K")->required();
    q->add_flag("--force", quantize.force, "replace OUT when it exists");
    q->add_option("--threads", quantize.threads, "compute threads (default: all cores)")
        ->check(CLI::Range(1, 1024));
    q->add_flag("--json", quantize.json);
  }

  void AddSecret() {
    CLI::App* s = Add("secret", "print the cluster secret of this device",
                      [this] { return RunSecret(secret); });
    s->add_flag("--new", secret.make_new, "print a new secret without storing it");
    CLI::App* j = Add("join", "give this device the secret of another one's cluster",
                      [this] { return RunJoin(secret); });
    j->add_option("--file", secret.file, "read the secret from a file (default: prompt)");
  }
};

void LogToStderr(LogLevel level, std::string_view line) {
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error", ""};
  fmt::print(stderr, "exo {}: {}\n", kNames[static_cast<int>(level)], line);
}

int Main(int argc, char** argv) {
  const std::string level = Environment("EXO_LOG");
  SetLog(LogToStderr, level == "debug"  ? LogLevel::kDebug
                      : level == "info" ? LogLevel::kInfo
                                        : LogLevel::kWarning);
  Commands commands;
  try {
    commands.app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = commands.app.exit(error);
    return code == 0 ? kExitOk : kExitUsage;
  }
  return Report(commands.chosen());
}

}  // namespace
}  // namespace exo::app

int main(int argc, char** argv) {
  return exo::app::Main(argc, argv);
}
