// Every command of the program with its options, bound to CLI11. `app` is the one tree from which
// parsing, help, completions (completions.h) and manual pages (man_pages.h) come.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "app/client_commands.h"
#include "app/dashboard_command.h"
#include "app/doctor_command.h"
#include "app/key_commands.h"
#include "app/launch_command.h"
#include "app/local_commands.h"
#include "app/logs_command.h"
#include "app/model_commands.h"
#include "app/model_views.h"
#include "app/pairing_commands.h"
#include "app/plan_command.h"
#include "app/pull_command.h"
#include "app/secret_commands.h"
#include "app/service_command.h"
#include "app/settings.h"
#include "app/top_command.h"
#include "app/trace_command.h"
#include "base/result.h"

namespace exo::app {

// Not movable: CLI11 holds references to the members.
class Commands {
 public:
  Commands();
  Commands(const Commands&) = delete;
  Commands& operator=(const Commands&) = delete;

  // Settings that options of `exo up` and `exo config` give.
  GivenSettings Given() const;
  // With those of the environment and the file.
  SettingSources Sources() const;

  CLI::App app{"One computer out of the devices you already own."};
  // What the parsed command line asks for.
  std::function<Result<void>(const Settings&)> chosen;
  std::string settings_file;
  bool quiet = false;     // no progress and no advice
  bool no_color = false;  // as NO_COLOR

 private:
  CLI::App* Add(const char* name, const char* what,
                std::function<Result<void>(const Settings&)> action);
  // A command that shows something and has `--json` alone.
  CLI::App* AddView(const char* name, const char* what, Result<void> (*run)(const Settings&, bool));
  void AddUp();
  void AddConfig();
  void AddSettings(CLI::App* c);  // one option for each setting
  void AddAsk(CLI::App* c, AskOptions& options);
  void TakeAsk(const char* command, AskOptions& options);
  CLI::Option* AddSplit(CLI::App* c, std::string& split);
  CLI::Option* AddWire(CLI::App* c, std::string& wire);
  void AddPlacing(CLI::App* c, PlacingOptions& options);
  void AddRun();
  void AddLaunch();
  void AddViews();
  void AddWatching();
  void AddPlan();
  void AddPull();
  void AddModelViews();
  void AddModelFiles();
  CLI::App* AddWriter(const char* name, const char* what);  // of a model's GGUF file
  void AddDemo();
  void AddBench();
  void AddLogits();
  void AddSecret();
  void AddPairing();
  void AddTrust();
  void AddKeys();
  void AddService();
  void AddHelpers();
  void Group();

  GivenSettings given_;                                    // of flags
  std::map<std::string, std::vector<std::string>> texts_;  // of options, empty ones too
  bool json_ = false;
  AskOptions ask_;
  uint32_t max_tokens_ = 0;
  uint64_t seed_ = 0;
  DemoOptions demo_;
  BenchOptions bench_;
  LogitsOptions logits_;
  TokenizeOptions tokenize_;
  RemoveOptions removed_;
  DevicesOptions devices_;
  DashboardOptions dashboard_;
  DoctorOptions doctor_;
  ListOptions list_;
  CopyOptions copy_;
  LaunchOptions launch_;
  PullOptions pull_;
  TopOptions top_;
  TraceOptions trace_;
  LogsOptions logs_;
  PrepareOptions prepare_;
  QuantizeOptions quantize_;
  std::string kv_ = "f16";
  std::string model_;
  PlanCommandOptions plan_;
  SecretOptions secret_;
  std::string join_at_start_;
  InviteOptions invite_;
  JoinOptions join_;
  DeviceOptions device_;
  KeyOptions keys_;
  ServiceOptions service_;
  std::string shell_, folder_;
};

}  // namespace exo::app
