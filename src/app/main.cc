// The `exo` command: parses the command line and hands over to one function per command.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <exception>
#include <sstream>

#include "app/client_commands.h"
#include "app/exit_codes.h"
#include "app/key_commands.h"
#include "app/local_commands.h"
#include "app/mcp_command.h"
#include "app/model_commands.h"
#include "app/output.h"
#include "app/pairing_commands.h"
#include "app/plan_command.h"
#include "app/pull_command.h"
#include "app/secret_commands.h"
#include "app/service_command.h"
#include "app/settings.h"
#include "app/settings_command.h"
#include "app/up.h"
#include "app/version_command.h"
#include "base/log.h"
#include "base/text.h"
#include "sys/standard_streams.h"
#include "wire/plan.h"

namespace exo::app {
namespace {

int Report(const Result<void>& result) {
  const Result<void> flushed = FlushOutput();
  if (!result) {
    Note("exo: {}\n", Printable(result.error().message));
    return ExitCodeFor(result.error().code);
  }
  EndIfReaderIsGone();
  if (flushed) return kExitOk;
  Note("exo: {}\n", flushed.error().message);
  return kExitError;
}

// A finite number from `low` to `high`: CLI::Range takes nan.
CLI::Validator Between(double low, double high) {
  const std::string range = fmt::format("{} to {}", low, high);
  return CLI::Validator(
      [low, high, range](std::string& text) {
        double value = 0;
        const bool fits = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
        return fits ? "" : fmt::format("{} is not a number from {}", text, range);
      },
      range);
}
// CLI11 clips what does not fit into 64 bits.
CLI::Validator Whole64() {
  return CLI::Validator(
      [](std::string& text) {
        const char* end = text.data() + text.size();
        int64_t below = 0;
        uint64_t above = 0;
        const auto fits = [end](std::from_chars_result read) {
          return read.ec == std::errc() && read.ptr == end;
        };
        const bool whole = fits(std::from_chars(text.data(), end, above)) ||
                           fits(std::from_chars(text.data(), end, below));
        return whole ? "" : fmt::format("{} is not a whole number of 64 bits", text);
      },
      "64 bits");
}
CLI::Validator IsDuration() {
  return CLI::Validator(
      [](std::string& text) {
        const auto time = ParseDuration(text);
        return time ? "" : time.error().message;
      },
      "TIME");
}
constexpr const char* kTypes = "Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, F32, F16 or BF16";
constexpr double kMaxThreads = 1024, kMaxPositions = 1 << 24;

// Options of one command, bound to CLI11 and turned into a call.
struct Commands {
  CLI::App app{"One computer out of the devices you already own."};
  std::function<Result<void>(const Settings&)> chosen;

  std::string settings_file;
  GivenSettings given;  // by options of `exo up` and `exo config`
  bool json = false;
  AskOptions ask;
  uint32_t max_tokens = 0;
  uint64_t seed = 0;
  DemoOptions demo;
  BenchOptions bench;
  LogitsOptions logits;
  TokenizeOptions tokenize;
  RemoveOptions removed;
  DevicesOptions devices;
  PullOptions pull;
  PrepareOptions prepare;
  QuantizeOptions quantize;
  std::string kv = "f16";
  std::string model;
  PlanCommandOptions plan;
  SecretOptions secret;
  std::string join_at_start;
  InviteOptions invite;
  JoinOptions join;
  DeviceOptions device;
  KeyOptions keys;
  ServiceOptions service;

  Commands() {
    app.require_subcommand(1);
    app.fallthrough();
    app.set_version_flag(
        "--version",
        [this] {
          const std::vector<std::string> rest = app.remaining();
          return VersionText(std::ranges::find(rest, "--json") != rest.end());
        },
        "version, protocol, numerics id, compiler and instruction set; also with --json");
    app.add_option("--config", settings_file,
                   "settings file (default: exo.toml in the data folder)");
    AddUp();
    AddRun();
    AddViews();
    AddDemo();
    AddMeasures();
    AddModelCommands();
    AddPull();
    AddSecret();
    AddPairing();
    AddKeys();
    AddService();
  }

  CLI::App* Add(const char* name, const char* what,
                std::function<Result<void>(const Settings&)> action) {
    CLI::App* command = app.add_subcommand(name, what);
    command->callback([this, action = std::move(action)] { chosen = action; });
    return command;
  }

  // One option for each setting.
  void AddSettings(CLI::App* c) {
    for (const SettingInfo& info : SettingInfos()) {
      if (info.is_secret) continue;  // other users of the machine see command lines
      std::string option = "--" + info.key;
      std::ranges::replace(option, '_', '-');
      if (info.key == "peers") option += ",--peer";
      if (info.key == "allow_origins") option += ",--allow-origin";
      if (info.is_on) {
        c->add_flag_callback(
            "--no-" + option.substr(2), [this, key = info.key] { given[key] = {"false"}; },
            "do not: " + info.what);
      } else if (info.is_flag) {
        c->add_flag_callback(option, [this, key = info.key] { given[key] = {"true"}; }, info.what);
      } else {
        CLI::Option* added = c->add_option(option, given_[info.key], info.what);
        added->allow_extra_args(false)->type_name(info.is_list ? "TEXT ..." : "TEXT");
        if (!info.is_list) added->take_last();
      }
    }
  }
  GivenSettings Given() const {
    GivenSettings all = given;
    for (const auto& [key, texts] : given_) {
      if (!texts.empty()) all[key] = texts;
    }
    return all;
  }

  void AddUp() {
    CLI::App* u = Add("up", "start this device's node and its API",
                      [this](const Settings& settings) { return RunUp(settings, join_at_start); });
    AddSettings(u);
    u->add_option("--join", join_at_start,
                  "join another device's cluster: the code or link that `exo invite` shows there");
    CLI::App* c = Add("config", "print the settings in effect and where each comes from",
                      [this](const Settings& settings) { return RunConfig(settings, json); });
    AddSettings(c);
    c->add_flag("--json", json);
  }

  void AddAsk(CLI::App* c, AskOptions& options) {
    c->add_flag("--raw", options.raw, "no chat template: continue the prompt");
    c->add_option("--max-tokens", max_tokens, "tokens to generate at most")
        ->check(Between(1, 10'000'000));
    c->add_option("--temperature", options.temperature, "0: always the likeliest token")
        ->check(Between(0, 2));
    c->add_option("--top-k", options.top_k, "only the so many likeliest tokens; 0: all")
        ->check(Between(0, 10'000'000));
    c->add_option("--top-p", options.top_p, "only the likeliest tokens that make up this part")
        ->check(Between(0, 1));
    c->add_option("--min-p", options.min_p, "only tokens of at least this part of the likeliest")
        ->check(Between(0, 1));
    c->add_option("--seed", seed, "same seed, same answer")->check(Whole64());
    c->add_flag("--json", options.json, "print one JSON object");
  }
  void TakeAsk(const char* command, AskOptions& options) {
    const CLI::App* c = app.get_subcommand(command);
    if (c->count("--max-tokens") > 0) options.max_tokens = max_tokens;
    if (c->count("--seed") > 0) options.seed = seed;
  }

  static CLI::Option* AddSplit(CLI::App* c, std::string& split) {
    return c
        ->add_option("--split", split,
                     "over all devices: layer (whole layers) or tensor (a part of each layer); "
                     "auto: as is best")
        ->check(CLI::IsMember({"auto", "layer", "tensor"}));
  }

  static CLI::Option* AddWire(CLI::App* c, std::string& wire) {
    return c
        ->add_option(
            "--wire", wire,
            "how rows travel between devices: f32 (exact); f16, int8 or int4 for slow links "
            "(other answers)")
        ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}));
  }

  void AddPlacing(CLI::App* c, PlacingOptions& options) {
    CLI::Option* spread = c->add_flag("--spread", options.spread, "short for --split layer");
    AddSplit(c, options.split)->excludes(spread);
    AddWire(c, options.wire);
    c->add_option("--for", options.use,
                  "what the place should be good at: latency (one answer as fast as possible) or "
                  "throughput (many answers at once)")
        ->check(CLI::IsMember({"auto", "latency", "throughput"}));
    c->add_option("--context", options.context,
                  "tokens of a prompt and its answer; 0: as trained, as far as memory allows")
        ->check(Between(0, kMaxPositions));
    c->add_option("--kv", options.kv, "type of the KV cache: f16, q8_0 or f32")
        ->check(CLI::IsMember({"f16", "q8_0", "f32"}));
    c->add_option("--lora", options.lora, "with a low-rank adapter: FILE[:SCALE]")
        ->allow_extra_args(false);
    c->add_option("--draft", options.draft,
                  "with a small model of the same vocabulary that guesses ahead: name or path; no "
                  "answer changes");
  }

  void AddRun() {
    CLI::App* c =
        Add("run", "ask a model; loads it where it fits best", [this](const Settings& settings) {
          TakeAsk("run", ask);
          return RunRun(settings, ask);
        });
    c->add_option("MODEL", ask.model, "name or path of a GGUF file")->required();
    c->add_option("PROMPT", ask.prompt,
                  "what to say; - or nothing: standard input. What is piped in is added behind it");
    AddPlacing(c, ask.placing);
    CLI::Option* keep = c->add_option(
        "--keep", ask.placing.keep,
        "free its memory when nobody asks it for so long: 90s, 5m, 1h; -1: when it is needed");
    keep->check(IsDuration());
    c->add_flag("--pin", ask.placing.pin, "keep it in memory; it makes no room for other models")
        ->excludes(keep);
    AddAsk(c, ask);
  }

  void AddViews() {
    const auto view = [this](const char* name, const char* what,
                             Result<void> (*run)(const Settings&, bool)) {
      Add(name, what, [this, run](const Settings& settings) {
        return run(settings, json);
      })->add_flag("--json", json);
    };
    CLI::App* d = Add("devices", "which devices are there",
                      [this](const Settings& settings) { return RunDevices(settings, devices); });
    d->add_flag("--all", devices.all, "also those that were forgotten");
    d->add_flag("--json", devices.json);
    view("ps", "which models run where", RunPs);
    view("models", "which models can be run", RunModels);
    AddPlan();
    CLI::App* s = Add("stop", "unload a model from all devices",
                      [this](const Settings& settings) { return RunStop(settings, model, json); });
    s->add_option("MODEL", model, "name of a running model (exo ps)")->required();
    s->add_flag("--json", json);
    Add("mcp",
        "serve the models of this device's node to programs that speak MCP on standard input",
        RunMcp);
  }

  void AddPlan() {
    CLI::App* c = Add("plan", "where a model would go and how fast it would be, without loading it",
                      [this](const Settings& settings) { return RunPlan(settings, plan); });
    c->add_option("MODEL", plan.model, "name or path of a GGUF file")->required();
    AddPlacing(c, plan.placing);
    c->add_option("--users", plan.users, "answers at once that it is planned for")
        ->check(Between(1, wire::kMaxUsers));
    c->add_option("--cluster", plan.cluster,
                  "TOML file with devices and links as numbers, instead of the running cluster: "
                  "what if I buy one more?");
    c->add_flag("--explain", plan.explain, "also what was compared, and why not the others");
    c->add_flag("--json", plan.json);
  }

  void AddDemo() {
    demo.ask.model = "exo-tiny";
    demo.ask.prompt = "What is exo?";
    demo.ask.temperature = 0;
    CLI::App* c = Add("demo", "a cluster of several nodes on this machine answers a question",
                      [this](const Settings& settings) {
                        TakeAsk("demo", demo.ask);
                        if (!demo.ask.max_tokens) demo.ask.max_tokens = 128;
                        return RunDemo(settings, demo);
                      });
    c->add_option("--nodes", demo.nodes, "how many (default 3)")->check(Between(1, 16));
    c->add_option("--threads", demo.threads, "compute threads of each (default 1)")
        ->check(Between(1, kMaxThreads));
    AddSplit(c, demo.split);
    AddWire(c, demo.wire);
    c->add_option("--model", demo.ask.model, "name or path of a GGUF file");
    c->add_option("--prompt", demo.ask.prompt, "the question");
    AddAsk(c, demo.ask);
  }

  void AddMeasures() {
    CLI::App* b =
        Add("bench", "measure prompt and decode speed, load time and memory",
            [this](const Settings& settings) -> Result<void> {
              bench.kv = TRY(kernels::KvTypeNamed(kv));
              if (!bench.replay.empty()) return RunReplay(settings, bench);
              return bench.nodes > 0 ? RunClusterBench(settings, bench) : RunBench(settings, bench);
            });
    b->add_option("--model", bench.model, "name or path of a GGUF file")->required();
    b->add_option("--pp", bench.pp, "prompt tokens (512; 0: none)")
        ->check(Between(0, kMaxPositions));
    b->add_option("--tg", bench.tg, "generated tokens (128; 0: none)")
        ->check(Between(0, kMaxPositions));
    b->add_option("--depth", bench.depth, "tokens already in the cache")
        ->check(Between(0, kMaxPositions));
    b->add_option("--batch", bench.batch, "sequences decoded together")->check(Between(1, 1024));
    b->add_option("--threads", bench.threads, "compute threads (default: all cores)")
        ->check(Between(1, kMaxThreads));
    b->add_option("--runs", bench.runs, "repetitions; medians are printed (3)")
        ->check(Between(1, 10000));
    b->add_option("--chunk", bench.chunk, "prompt tokens of one step (256)")
        ->check(Between(1, 8192));
    b->add_option("--nodes", bench.nodes, "measure a cluster of so many nodes on this machine")
        ->check(Between(1, 16));
    AddSplit(b, bench.split)->needs("--nodes");
    AddWire(b, bench.wire)->needs("--nodes");
    b->add_option("--replay", bench.replay,
                  "file of recorded tokens (exo tokenize --json): --pp of them are the prompt, the "
                  "next --tg the answer; compares decoding with speculation and without")
        ->excludes("--nodes", "--depth", "--batch");
    b->add_option("--kv", kv, "type of the KV cache: f16, f32 or q8_0");
    b->add_flag("--json", bench.json);

    CLI::App* l = Add("logits", "write the logits of each position of a prompt",
                      [this](const Settings& settings) -> Result<void> {
                        logits.kv = TRY(kernels::KvTypeNamed(kv));
                        return RunLogits(settings, logits);
                      });
    l->add_option("--model", logits.model, "name or path of a GGUF file")->required();
    l->add_option("--prompt", logits.prompt, "the text")->required();
    l->add_flag("--raw", logits.raw, "no chat template (always so here)");
    l->add_option("--threads", logits.threads, "compute threads (default: all cores)")
        ->check(Between(1, kMaxThreads));
    l->add_option("--chunk", logits.chunk, "positions of one step")->check(Between(1, 8192));
    l->add_option("--kv", kv, "type of the KV cache: f16, f32 or q8_0");
    l->add_option("--lora", logits.lora, "with a low-rank adapter: FILE[:SCALE]")
        ->allow_extra_args(false);
    l->add_option("--out", logits.out, "file: f32 [positions][vocabulary]")->required();
    l->add_flag("--json", logits.json);

    CLI::App* t = Add("tokenize", "print the token ids of a text",
                      [this](const Settings& settings) { return RunTokenize(settings, tokenize); });
    t->add_option("--model", tokenize.model, "name or path of a GGUF file")->required();
    t->add_option("--file", tokenize.file, "the text (default: standard input)");
    t->add_flag("--special", tokenize.special, "control tokens written in the text are recognized");
    t->add_flag("--json", tokenize.json);
  }

  void AddModelCommands() {
    CLI::App* r =
        Add("rm", "forget a model that was added by its path, or delete one that was pulled",
            [this](const Settings& settings) { return RunRemove(settings, removed); });
    r->add_option("MODEL", removed.model, "name or path of the file (exo models)")->required();
    r->add_flag("--everywhere", removed.everywhere,
                "delete what exo has downloaded of it on all devices");
    r->add_flag("--json", removed.json);
    CLI::App* p = Add("prepare", "pack a model once, so that later starts take no time",
                      [this](const Settings& settings) { return RunPrepare(settings, prepare); });
    p->add_option("MODEL", prepare.model, "name or path of a GGUF file")->required();
    p->add_flag("--remove", prepare.remove, "remove the prepared file again");
    p->add_option("--threads", prepare.threads, "compute threads (default: all cores)")
        ->check(Between(1, kMaxThreads));
    p->add_flag("--json", prepare.json);

    CLI::App* q = AddWriter("quantize", "write a model with its weights as smaller blocks");
    q->add_option("TYPE", quantize.type, kTypes)->required();
    CLI::App* c =
        AddWriter("convert", "write a GGUF file of a folder of safetensors or of another file");
    c->add_option("--type", quantize.type, std::string(kTypes) + " (default: as they are)");
  }

  // A command that writes a model's GGUF file.
  CLI::App* AddWriter(const char* name, const char* what) {
    CLI::App* command = Add(
        name, what, [this](const Settings& settings) { return RunQuantize(settings, quantize); });
    command
        ->add_option("IN", quantize.source,
                     "name or path of a GGUF file or of a folder of safetensors")
        ->required();
    command->add_option("OUT", quantize.target, "the file to write")->required();
    command->add_flag("--force", quantize.force, "replace OUT when it exists");
    command->add_option("--threads", quantize.threads, "compute threads (default: all cores)")
        ->check(Between(1, kMaxThreads));
    command->add_flag("--json", quantize.json);
    return command;
  }

  void AddPull() {
    CLI::App* c = Add("pull", "bring a model here from the Hugging Face hub or the Ollama registry",
                      [this](const Settings& settings) { return RunPull(settings, pull); });
    c->add_option(
         "MODEL", pull.model,
         "hf:OWNER/REPO[:QUANTIZATION], NAME[:TAG] of the Ollama registry, an https address "
         "of a GGUF file, or a path")
        ->required();
    c->add_flag("--json", pull.json, "print each event as a line");
  }

  void AddSecret() {
    CLI::App* s = Add("secret", "print the cluster secret of this device",
                      [this](const Settings& settings) { return RunSecret(settings, secret); });
    s->add_flag("--new", secret.make_new, "print a new secret without storing it");
    s->add_flag("--rotate", secret.rotate, "replace the secret on all devices of the cluster");
  }

  void AddPairing() {
    CLI::App* i = Add("invite", "show a code with which another device may join",
                      [this](const Settings& settings) { return RunInvite(settings, invite); });
    i->add_flag("--guest", invite.guest,
                "as a guest: it computes layers in the middle of models and sees no text");
    i->add_flag("--json", invite.json);
    CLI::App* j = Add("join", "join another device's cluster, by a code or by its secret",
                      [this](const Settings& settings) {
                        const bool by_code = join.ask || !join.code.empty();
                        return by_code ? RunJoinByCode(settings, join) : RunJoin(settings, secret);
                      });
    CLI::Option* code = j->add_option("CODE", join.code,
                                      "code or link of `exo invite` (default: ask for a secret)");
    CLI::Option* asks =
        j->add_flag("--ask", join.ask, "without a code: to be approved there")->excludes(code);
    j->add_option("--at", join.at, "HOST:PORT of the inviting device (default: look for it)");
    j->add_option("--file", secret.file, "read a secret from a file")
        ->excludes(code)
        ->excludes(asks);
    j->add_flag("--json", join.json);
    CLI::App* a = Add("approve", "let a device in that asked with `exo join --ask`",
                      [this](const Settings& settings) { return RunApprove(settings, device); });
    a->add_option("ID", device.device, "the first digits of its id (exo devices)")->required();
    a->add_flag("--guest", device.guest, "as a guest");
    a->add_flag("--json", device.json);
    CLI::App* f = Add("forget", "cut a device off for ever: a lost or sold one",
                      [this](const Settings& settings) { return RunForget(settings, device); });
    f->add_option("DEVICE", device.device, "its name, or the first digits of its id")->required();
    f->add_flag("--json", device.json);
    Add("rotate-key", "give this device a new key, from the next start of exo on",
        [this](const Settings& settings) { return RunRotateKey(settings, json); })
        ->add_flag("--json", json);
    Add("audit", "who joined, was approved, forgotten or refused on this device",
        [this](const Settings& settings) { return RunAudit(settings, json); })
        ->add_flag("--json", json);
  }

  void AddKeys() {
    CLI::App* group = app.add_subcommand("key", "keys for the API of this device");
    group->require_subcommand(1);
    group->fallthrough();
    const auto add = [&](const char* name, const char* what, auto run) {
      CLI::App* command = group->add_subcommand(name, what);
      command->callback(
          [this, run] { chosen = [this, run](const Settings&) { return run(keys); }; });
      command->add_flag("--json", keys.json);
      return command;
    };
    CLI::App* a = add("add", "make a key and show it, once", RunKeyAdd);
    a->add_option("NAME", keys.name, "whose it is")->required();
    a->add_option("--scope", keys.scopes,
                  "what it may do: infer (default), models, admin; several with commas")
        ->delimiter(',')
        ->allow_extra_args(false);
    a->add_option("--rate", keys.rate, "requests in a minute: 60 or 60/min (default: any number)");
    a->add_option("--quota", keys.quota,
                  "tokens of prompts and answers in a day (UTC): 100000 or 100k (default: any "
                  "number)");
    add("list", "the keys that there are, and when each was used", RunKeyList);
    CLI::App* r = add("rm", "remove a key; it is refused from now on", RunKeyRemove);
    r->add_option("NAME", keys.name, "name of the key (exo key list)")->required();
  }

  void AddService() {
    CLI::App* group = app.add_subcommand("service", "exo up as a service of systemd");
    group->require_subcommand(1);
    group->fallthrough();
    const auto add = [&](const char* name, const char* what, auto run) {
      CLI::App* command = group->add_subcommand(name, what);
      command->callback([this, run] {
        chosen = [this, run](const Settings& settings) { return run(settings, service); };
      });
      command->add_flag("--json", service.json);
      return command;
    };
    CLI::App* i = add("install", "start exo now, and by itself from now on", RunServiceInstall);
    CLI::App* u = add("uninstall", "stop it, and start it no more", RunServiceUninstall);
    add("status", "whether it is installed and runs", RunServiceStatus);
    for (CLI::App* c : {i, u})
      c->add_flag("--system", service.system, "for the whole machine, with a user of its own");
    i->add_flag("--print", service.print, "show the unit and install nothing");
    i->add_option("--program", service.program, "the exo that it starts (default: this one)");
  }

 private:
  GivenSettings given_;  // bound to CLI11; without those that are empty: Given()
};

// What was meant by a word that is no command, or an option that the command does not have; "" when
// the mistake is another.
std::string ExplainUnknown(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  const CLI::App& command = commands.empty() ? app : *commands[0];
  std::vector<std::string> rest = app.remaining(true);
  if (rest.empty()) return "";
  std::vector<std::string> known;
  const bool option = rest[0].starts_with("-");
  if (option) {
    for (const CLI::Option* one : command.get_options()) {
      for (const std::string& name : one->get_lnames()) known.push_back("--" + name);
    }
  } else if (commands.empty()) {
    for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; }))
      known.push_back(one->get_name());
  }
  const std::string near = Nearest(rest[0].substr(0, rest[0].find('=')), known);
  const std::string hint = near.empty() ? "" : fmt::format("; did you mean {}?", near);
  if (option || !commands.empty()) {
    return fmt::format("exo{}{} does not take {}{}", commands.empty() ? "" : " ",
                       commands.empty() ? "" : command.get_name(), Printable(rest[0]), hint);
  }
  return fmt::format("there is no command {}{}", Printable(rest[0]), hint);
}

// Prints help, or what was wrong with the command line.
int ReportParse(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out, unused;
  if (app.exit(error, out, unused) == 0) {
    Write(out.str());
    return Report({});
  }
  const std::string unknown = ExplainUnknown(app);
  Note("exo: {}; exo --help shows how it is used\n",
       unknown.empty() ? Printable(error.what()) : unknown);
  return kExitUsage;
}

Result<void> Execute(const Commands& commands) {
  const Settings settings = TRY(ReadSettings({.command_line = commands.Given(),
                                              .environment = FromEnvironment(),
                                              .file = commands.settings_file}));
  SetLog(sys::LogToStderr, settings.log);
  return commands.chosen(settings);
}

int Main(int argc, char** argv) {
  sys::GuardStandardStreams();
  SetLog(sys::LogToStderr, LogLevel::kWarning);
  Commands commands;
  try {
    commands.app.parse(argc, argv);
    return Report(Execute(commands));
  } catch (const CLI::ParseError& error) {
    return ReportParse(commands.app, error);
  } catch (const std::exception& error) {  // of a library: nothing of ours throws
    return Report(Fail(ErrorCode::kIo, "unexpected: {}", error.what()));
  }
}

}  // namespace
}  // namespace exo::app

int main(int argc, char** argv) {
  return exo::app::Main(argc, argv);
}
