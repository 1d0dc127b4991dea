#include "app/commands.h"
#include "app/option_checks.h"
#include "wire/plan.h"

namespace exo::app {
namespace {

constexpr const char* kTypes = "Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, F32, F16 or BF16";

}  // namespace

void Commands::AddAsk(CLI::App* c, AskOptions& options) {
  c->add_flag("--raw", options.raw, "no chat template: continue the prompt");
  c->add_option("--max-tokens", max_tokens_, "tokens to generate at most")
      ->check(Between(1, 10'000'000));
  c->add_option("--temperature", options.temperature, "0: always the likeliest token")
      ->check(Between(0, 2));
  c->add_option("--top-k", options.top_k, "only the so many likeliest tokens; 0: all")
      ->check(Between(0, 10'000'000));
  c->add_option("--top-p", options.top_p, "only the likeliest tokens that make up this part")
      ->check(Between(0, 1));
  c->add_option("--min-p", options.min_p, "only tokens of at least this part of the likeliest")
      ->check(Between(0, 1));
  c->add_option("--seed", seed_, "same seed, same answer")->check(Whole64());
  c->add_flag("--json", options.json, "print one JSON object");
}

void Commands::TakeAsk(const char* command, AskOptions& options) {
  const CLI::App* c = app.get_subcommand(command);
  if (c->count("--max-tokens") > 0) options.max_tokens = max_tokens_;
  if (c->count("--seed") > 0) options.seed = seed_;
}

CLI::Option* Commands::AddSplit(CLI::App* c, std::string& split) {
  return c
      ->add_option(
          "--split", split,
          "over all devices: layer (whole layers), tensor (a part of each layer) or hybrid "
          "(layers over groups that have a part of each); auto: as is best")
      ->check(CLI::IsMember({"auto", "layer", "tensor", "hybrid"}));
}

CLI::Option* Commands::AddWire(CLI::App* c, std::string& wire) {
  return c
      ->add_option("--wire", wire,
                   "how rows travel between devices: f32 (exact); f16, int8 or int4 for slow links "
                   "(other answers)")
      ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}));
}

void Commands::AddPlacing(CLI::App* c, PlacingOptions& options) {
  CLI::Option* spread = c->add_flag("--spread", options.spread, "short for --split layer");
  AddSplit(c, options.split)->excludes(spread);
  AddWire(c, options.wire);
  c->add_option("--for", options.use,
                "what the place should be good at: latency (one answer as fast as possible), "
                "throughput (many answers at once) or prompts (the first token behind a long one)")
      ->check(CLI::IsMember({"auto", "latency", "throughput", "prompts"}));
  c->add_option("--users", options.users, "answers at once that it is planned for")
      ->check(Between(1, wire::kMaxUsers));
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

void Commands::AddRun() {
  CLI::App* c =
      Add("run", "ask a model; loads it where it fits best", [this](const Settings& settings) {
        TakeAsk("run", ask_);
        return RunRun(settings, ask_);
      });
  c->add_option("MODEL", ask_.model, "name or path of a GGUF file")->required();
  c->add_option("PROMPT", ask_.prompt,
                "what to say; nothing, on a terminal: a chat; - or nothing elsewhere: standard "
                "input. What is "
                "piped in is added behind it");
  AddPlacing(c, ask_.placing);
  CLI::Option* keep = c->add_option(
      "--keep", ask_.placing.keep,
      "free its memory when nobody asks it for so long: 90s, 5m, 1h; -1: when it is needed");
  keep->check(IsDuration());
  c->add_flag("--pin", ask_.placing.pin, "keep it in memory; it makes no room for other models")
      ->excludes(keep);
  AddAsk(c, ask_);
  c->add_flag("--verbose", ask_.verbose, "time to the first token, speed and devices, behind it");
  c->add_flag("--no-history", ask_.no_history, "keep nothing of what is asked in a chat");
}

void Commands::AddLaunch() {
  CLI::App* c = Add("launch", "start another program so that it asks this cluster",
                    [this](const Settings& settings) { return RunLaunch(settings, launch_); });
  c->add_option("TOOL", launch_.tool, "claude, codex, opencode, aider or qwen")->required();
  c->add_option("ARGUMENTS", launch_.arguments, "its own arguments, behind --");
  c->add_option("--model", launch_.model,
                "which it asks (default: the one that runs, or the only)");
  CLI::Option* print =
      c->add_flag("--print", launch_.print, "print what would be set and run, and do nothing");
  CLI::Option* config = c->add_flag("--config", launch_.config,
                                    "write it into the program's own settings, after a backup")
                            ->excludes(print);
  c->add_flag("--restore", launch_.restore, "bring the backup of those settings back")
      ->excludes(print, config);
  c->add_flag("--json", launch_.json, "with --print, --config or --restore: print one JSON value");
}

void Commands::AddViews() {
  CLI::App* d = Add("devices", "which devices are there",
                    [this](const Settings& settings) { return RunDevices(settings, devices_); });
  d->add_flag("--all", devices_.all, "also those that were forgotten");
  CLI::Option* json = d->add_flag("--json", devices_.json, "print one JSON value");
  d->add_flag("--names", devices_.names, "only their names, one a line")->excludes(json);
  CLI::App* w =
      Add("dashboard", "open this device's page in a browser, signed in",
          [this](const Settings& settings) { return RunDashboard(settings, dashboard_); });
  w->add_flag("--print", dashboard_.print, "only print the link, which works once");
  w->add_flag("--json", dashboard_.json, "print one JSON value");
  AddView("ps", "which models run where", RunPs);
  CLI::App* s = Add("stop", "unload a model from all devices",
                    [this](const Settings& settings) { return RunStop(settings, model_, json_); });
  s->add_option("MODEL", model_, "name of a running model (exo ps)")->required();
  s->add_flag("--json", json_);
}

void Commands::AddWatching() {
  CLI::App* d = Add("doctor", "what keeps this device and its cluster from working well",
                    [this](const Settings& settings) { return RunDoctor(settings, doctor_); });
  d->add_flag("--all", doctor_.all, "also what is well");
  d->add_flag("--json", doctor_.json, "print one JSON value (always all)");
  CLI::App* t = Add("top", "devices, models and requests, live",
                    [this](const Settings& settings) { return RunTop(settings, top_); });
  t->add_flag("--once", top_.once, "show it once");
  t->add_flag("--json", top_.json, "print a line of JSON whenever something changes");
  CLI::App* r = Add("trace", "where the time of a request went",
                    [this](const Settings& settings) { return RunTrace(settings, trace_); });
  r->add_option("REQUEST", trace_.id, "the first digits of its id (default: the newest)");
  r->add_option("--tokens", trace_.tokens, "tokens that are shown (16)")
      ->check(Between(0, kMaxPositions));
  r->add_flag_callback("--json", [this] { trace_.format = "json"; }, "print one JSON value");
  r->add_option("--format", trace_.format,
                "as a file for others: chrome (chrome://tracing, Perfetto) or otlp (OpenTelemetry)")
      ->check(CLI::IsMember({"json", "chrome", "otlp"}));
  CLI::App* l = Add("logs", "the last lines that the node has logged",
                    [this](const Settings& settings) { return RunLogs(settings, logs_); });
  l->add_flag("-f,--follow", logs_.follow, "and further ones, until Ctrl-C");
  l->add_flag("--json", logs_.json, "each line as a JSON object");
}

void Commands::AddModelViews() {
  CLI::App* l = Add("models", "which models can be run",
                    [this](const Settings& settings) { return RunModels(settings, list_); });
  l->alias("list")->alias("ls");
  CLI::Option* json = l->add_flag("--json", list_.json, "print one JSON value");
  l->add_flag("--names", list_.names, "only their names, one a line")->excludes(json);
  CLI::App* s = Add("show", "what a model is, what it can do, and where its file lies",
                    [this](const Settings& settings) { return RunShow(settings, model_, json_); });
  s->add_option("MODEL", model_, "name or path of a GGUF file")->required();
  s->add_flag("--json", json_, "print one JSON value");
  CLI::App* c = Add("cp", "give a model a further name, whose settings can differ",
                    [this](const Settings& settings) { return RunCopy(settings, copy_); });
  c->add_option("MODEL", copy_.model, "name of a model")->required();
  c->add_option("NAME", copy_.name, "the further name")->required();
  c->add_flag("--json", copy_.json);
  CLI::App* r =
      Add("rm", "forget a model that was added by its path, or delete one that was pulled",
          [this](const Settings& settings) { return RunRemove(settings, removed_); });
  r->add_option("MODEL", removed_.model, "name or path of the file (exo models)")->required();
  r->add_flag("--everywhere", removed_.everywhere,
              "delete what exo has downloaded of it on all devices");
  r->add_flag("--json", removed_.json);
}

void Commands::AddPlan() {
  CLI::App* c = Add("plan", "where a model would go and how fast it would be, without loading it",
                    [this](const Settings& settings) { return RunPlan(settings, plan_); });
  c->add_option("MODEL", plan_.model, "name or path of a GGUF file")->required();
  AddPlacing(c, plan_.placing);
  c->add_option("--cluster", plan_.cluster,
                "TOML file with devices and links as numbers, instead of the running cluster: "
                "what if I buy one more?");
  c->add_flag("--explain", plan_.explain, "also what was compared, and why not the others");
  c->add_flag("--json", plan_.json);
}

void Commands::AddModelFiles() {
  CLI::App* p = Add("prepare", "pack a model once, so that later starts take no time",
                    [this](const Settings& settings) { return RunPrepare(settings, prepare_); });
  p->add_option("MODEL", prepare_.model, "name or path of a GGUF file")->required();
  p->add_flag("--remove", prepare_.remove, "remove the prepared file again");
  p->add_option("--threads", prepare_.threads, "compute threads (default: all cores)")
      ->check(Between(1, kMaxThreads));
  p->add_flag("--json", prepare_.json);

  CLI::App* q = AddWriter("quantize", "write a model with its weights as smaller blocks");
  q->add_option("TYPE", quantize_.type, kTypes)->required();
  CLI::App* c =
      AddWriter("convert", "write a GGUF file of a folder of safetensors or of another file");
  c->add_option("--type", quantize_.type, std::string(kTypes) + " (default: as they are)");
}

CLI::App* Commands::AddWriter(const char* name, const char* what) {
  CLI::App* command = Add(
      name, what, [this](const Settings& settings) { return RunQuantize(settings, quantize_); });
  command
      ->add_option("IN", quantize_.source,
                   "name or path of a GGUF file or of a folder of safetensors")
      ->required();
  command->add_option("OUT", quantize_.target, "the file to write")->required();
  command->add_flag("--force", quantize_.force, "replace OUT when it exists");
  command->add_option("--threads", quantize_.threads, "compute threads (default: all cores)")
      ->check(Between(1, kMaxThreads));
  command->add_flag("--json", quantize_.json);
  return command;
}

void Commands::AddPull() {
  CLI::App* c = Add("pull", "bring a model here from the Hugging Face hub or the Ollama registry",
                    [this](const Settings& settings) { return RunPull(settings, pull_); });
  c->add_option("MODEL", pull_.model,
                "hf:OWNER/REPO[:QUANTIZATION], NAME[:TAG] of the Ollama registry, an https address "
                "of a GGUF file, or a path")
      ->required();
  c->add_flag("--json", pull_.json, "print each event as a line");
}

}  // namespace exo::app
