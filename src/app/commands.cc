#include "app/commands.h"

#include <algorithm>

#include "app/completions.h"
#include "app/man_pages.h"
#include "app/mcp_command.h"
#include "app/next_step.h"
#include "app/option_checks.h"
#include "app/settings_command.h"
#include "app/up.h"
#include "app/usage.h"
#include "app/version_command.h"

namespace exo::app {

Commands::Commands() {
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.set_version_flag(
      "--version",
      [this] {
        const std::vector<std::string> rest = app.remaining();
        return VersionText(std::ranges::find(rest, "--json") != rest.end());
      },
      "version, protocol, numerics id, compiler and instruction set; also with --json");
  app.add_option("--config", settings_file, "settings file (default: exo.toml in the data folder)");
  app.add_flag("-q,--quiet", quiet, "no progress and no advice: results and errors only");
  app.add_flag("--no-color", no_color, "no colors, as with NO_COLOR");
  chosen = RunNextStep;
  AddUp();
  AddRun();
  AddLaunch();
  AddModelViews();
  AddPull();
  AddPlan();
  AddViews();
  AddPairing();
  AddTrust();
  AddWatching();
  AddConfig();
  AddKeys();
  AddSecret();
  AddService();
  AddModelFiles();
  AddDemo();
  AddBench();
  AddLogits();
  AddHelpers();
  Group();
}

// As the help lists them.
void Commands::Group() {
  const std::pair<const char*, std::vector<const char*>> kGroups[] = {
      {"Start and ask", {"up", "dashboard", "run", "launch", "demo"}},
      {"Models", {"models", "show", "pull", "ps", "stop", "rm", "cp", "plan"}},
      {"Devices", {"devices", "invite", "join", "approve", "forget", "audit"}},
      {"What happens", {"doctor", "top", "trace", "logs"}},
      {"This device",
       {"config", "service", "key", "secret", "rotate-key", "mcp", "completions", "man", "help"}},
      {"Files and measurements",
       {"convert", "quantize", "prepare", "tokenize", "logits", "bench"}}};
  for (const auto& [group, names] : kGroups) {
    for (const char* name : names) app.get_subcommand(name)->group(group);
  }
}

CLI::App* Commands::AddView(const char* name, const char* what,
                            Result<void> (*run)(const Settings&, bool)) {
  CLI::App* command =
      Add(name, what, [this, run](const Settings& settings) { return run(settings, json_); });
  command->add_flag("--json", json_, "print one JSON value");
  return command;
}

void Commands::AddHelpers() {
  CLI::App* h = Add("help", "what a command does and takes",
                    [this](const Settings&) { return RunHelp(app, shell_); });
  h->add_option("COMMAND", shell_, "one of exo's; none: all of them");
  CLI::App* c = Add("completions", "print the script that completes exo's words in a shell",
                    [this](const Settings&) { return RunCompletions(app, shell_); });
  c->add_option("SHELL", shell_, "bash, zsh or fish")->required();
  CLI::App* m = Add("man", "write the manual pages as files",
                    [this](const Settings&) { return RunMan(app, folder_); });
  m->add_option("DIR", folder_, "the folder, which is made when it is missing")->required();
}

CLI::App* Commands::Add(const char* name, const char* what,
                        std::function<Result<void>(const Settings&)> action) {
  CLI::App* command = app.add_subcommand(name, what);
  command->callback([this, action = std::move(action)] { chosen = action; });
  return command;
}

void Commands::AddSettings(CLI::App* c) {
  for (const SettingInfo& info : SettingInfos()) {
    if (info.is_secret) continue;  // other users of the machine see command lines
    std::string option = "--" + info.key;
    std::ranges::replace(option, '_', '-');
    if (info.key == "peers") option += ",--peer";
    if (info.key == "allow_origins") option += ",--allow-origin";
    if (info.is_on) {
      c->add_flag_callback(
          "--no-" + option.substr(2), [this, key = info.key] { given_[key] = {"false"}; },
          "do not: " + info.what);
    } else if (info.is_flag) {
      c->add_flag_callback(option, [this, key = info.key] { given_[key] = {"true"}; }, info.what);
    } else {
      CLI::Option* added = c->add_option(option, texts_[info.key], info.what);
      added->allow_extra_args(false)->type_name(info.is_list ? "TEXT ..." : "TEXT");
      if (!info.is_list) added->take_last();
    }
  }
}

GivenSettings Commands::Given() const {
  GivenSettings all = given_;
  for (const auto& [key, texts] : texts_) {
    if (!texts.empty()) all[key] = texts;
  }
  return all;
}

SettingSources Commands::Sources() const {
  return {.command_line = Given(), .environment = FromEnvironment(), .file = settings_file};
}

void Commands::AddUp() {
  CLI::App* u = Add("up", "start this device's node and its API", [this](const Settings& settings) {
    return RunUp(settings, Sources(), join_at_start_);
  });
  AddSettings(u);
  u->add_option("--join", join_at_start_,
                "join another device's cluster: the code or link that `exo invite` shows there");
}

void Commands::AddConfig() {
  AddSettings(
      AddView("config", "print the settings in effect and where each comes from", RunConfig));
  Add("mcp", "serve the models of this device's node to programs that speak MCP on standard input",
      RunMcp);
}

void Commands::AddSecret() {
  CLI::App* s = Add("secret", "print the cluster secret of this device",
                    [this](const Settings& settings) { return RunSecret(settings, secret_); });
  s->add_flag("--new", secret_.make_new, "print a new secret without storing it");
  s->add_flag("--rotate", secret_.rotate, "replace the secret on all devices of the cluster");
  s->add_flag("--json", secret_.json, "print one JSON value");
}

void Commands::AddPairing() {
  CLI::App* i = Add("invite", "show a code with which another device may join",
                    [this](const Settings& settings) { return RunInvite(settings, invite_); });
  i->add_flag("--guest", invite_.guest,
              "as a guest: it computes layers in the middle of models and sees no text");
  i->add_flag("--json", invite_.json);
  CLI::App* j = Add("join", "join another device's cluster, by a code or by its secret",
                    [this](const Settings& settings) {
                      const bool by_code = join_.ask || !join_.code.empty();
                      secret_.json = join_.json;
                      return by_code ? RunJoinByCode(settings, join_) : RunJoin(settings, secret_);
                    });
  CLI::Option* code =
      j->add_option("CODE", join_.code, "code or link of `exo invite` (default: ask for a secret)");
  CLI::Option* asks =
      j->add_flag("--ask", join_.ask, "without a code: to be approved there")->excludes(code);
  j->add_option("--at", join_.at, "HOST:PORT of the inviting device (default: look for it)");
  j->add_option("--file", secret_.file, "read a secret from a file")
      ->excludes(code)
      ->excludes(asks);
  j->add_flag("--json", join_.json);
  CLI::App* a = Add("approve", "let a device in that asked with `exo join --ask`",
                    [this](const Settings& settings) { return RunApprove(settings, device_); });
  a->add_option("ID", device_.device, "the first digits of its id (exo devices)")->required();
  a->add_flag("--guest", device_.guest, "as a guest");
  a->add_flag("--json", device_.json);
  CLI::App* f = Add("forget", "cut a device off for ever: a lost or sold one",
                    [this](const Settings& settings) { return RunForget(settings, device_); });
  f->add_option("DEVICE", device_.device, "its name, or the first digits of its id")->required();
  f->add_flag("--json", device_.json);
}

void Commands::AddTrust() {
  AddView("rotate-key", "give this device a new key, from the next start of exo on", RunRotateKey);
  AddView("audit", "who joined, was approved, forgotten or refused on this device", RunAudit);
}

void Commands::AddKeys() {
  CLI::App* group = app.add_subcommand("key", "keys for the API of this device");
  group->require_subcommand(1);
  group->fallthrough();
  const auto add = [&](const char* name, const char* what, auto run) {
    CLI::App* command = group->add_subcommand(name, what);
    command->callback(
        [this, run] { chosen = [this, run](const Settings&) { return run(keys_); }; });
    command->add_flag("--json", keys_.json);
    return command;
  };
  CLI::App* a = add("add", "make a key and show it, once", RunKeyAdd);
  a->add_option("NAME", keys_.name, "whose it is")->required();
  a->add_option("--scope", keys_.scopes,
                "what it may do: infer (default), models, admin; several with commas")
      ->delimiter(',')
      ->allow_extra_args(false);
  a->add_option("--rate", keys_.rate, "requests in a minute: 60 or 60/min (default: any number)");
  a->add_option("--quota", keys_.quota,
                "tokens of prompts and answers in a day (UTC): 100000 or 100k (default: any "
                "number)");
  add("list", "the keys that there are, and when each was used", RunKeyList)->alias("ls");
  CLI::App* r = add("rm", "remove a key; it is refused from now on", RunKeyRemove);
  r->add_option("NAME", keys_.name, "name of the key (exo key list)")->required();
}

void Commands::AddService() {
  CLI::App* group = app.add_subcommand("service", "exo up as a service of systemd");
  group->require_subcommand(1);
  group->fallthrough();
  const auto add = [&](const char* name, const char* what, auto run) {
    CLI::App* command = group->add_subcommand(name, what);
    command->callback([this, run] {
      chosen = [this, run](const Settings& settings) { return run(settings, service_); };
    });
    command->add_flag("--json", service_.json, "print one JSON value");
    return command;
  };
  CLI::App* i = add("install", "start exo now, and by itself from now on", RunServiceInstall);
  CLI::App* u = add("uninstall", "stop it, and start it no more", RunServiceUninstall);
  add("status", "whether it is installed and runs", RunServiceStatus);
  for (CLI::App* c : {i, u})
    c->add_flag("--system", service_.system, "for the whole machine, with a user of its own");
  i->add_flag("--print", service_.print, "show the unit and install nothing");
  i->add_option("--program", service_.program, "the exo that it starts (default: this one)");
}

}  // namespace exo::app
