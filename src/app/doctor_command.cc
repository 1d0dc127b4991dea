#include "app/doctor_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/client_commands.h"
#include "app/data_folder.h"
#include "app/output.h"
#include "app/terminal.h"
#include "base/text.h"
#include "net/socket.h"
#include "node/doctor.h"
#include "service/findings.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;
using node::Finding;
using node::FindingState;

constexpr unsigned kDoctorColumns = 80;
constexpr size_t kIndent = 9;

size_t CountOf(const std::vector<Finding>& findings, FindingState state) {
  return static_cast<size_t>(
      std::ranges::count(findings, state, [](const Finding& one) { return one.state; }));
}

std::string Paragraph(const std::string& text) {
  const size_t columns = sys::TerminalColumns(1).value_or(kDoctorColumns);
  return std::string(kIndent, ' ') +
         Wrapped(Printable(text), std::max<size_t>(columns, 40) - kIndent, kIndent);
}

// Why the node would not get a port. `ask`: what has it may be an exo that answers.
Finding JudgePortTaken(const char* id, const std::string& host, uint16_t port, const char* setting,
                       bool ask) {
  if (port == 0) return {.id = id, .title = "any free port is taken", .detail = setting};
  const auto free = net::Listen(host, port);
  if (free) return {.id = id, .title = fmt::format("port {} is free", port), .detail = setting};
  if (ask && GetSoon(HttpClient(port, ""), "/health")) {
    return {
        id, FindingState::kProblem,
        fmt::format("port {} is taken by an exo with another data folder", port),
        "it belongs to another user, or was started with another EXO_HOME",
        fmt::format("ask that one (with its EXO_HOME), or choose another port: exo up --{} PORT",
                    setting)};
  }
  return {id, FindingState::kProblem, fmt::format("port {} is taken by another program", port),
          free.error().message,
          fmt::format("stop that program, or choose another port: exo up --{} PORT", setting)};
}

std::vector<Finding> DiagnoseSilentNode(const std::string& why) {
  std::vector<Finding> findings = {{"node", FindingState::kProblem, "the node does not answer", why,
                                    "let it go on or end it, then: exo up"}};
  for (Finding& one : node::JudgeDevice(node::LookAtDevice(sys::DataFolder())))
    findings.push_back(std::move(one));
  return findings;
}

}  // namespace

std::vector<Finding> DiagnoseWithoutNode(const Settings& settings, bool silent) {
  std::vector<Finding> findings = {
      {"node", FindingState::kWarning, "no exo node runs on this machine",
       "so nothing can be said of other devices and of models", "start it: exo up"}};
  for (Finding& one : node::JudgeDevice(node::LookAtDevice(sys::DataFolder())))
    findings.push_back(std::move(one));
  findings.push_back(
      JudgePortTaken("api-port", "127.0.0.1", settings.api_port, "api-port", !silent));
  // Without a word of the user the node takes another one for devices.
  if (!settings.IsDefault("port"))
    findings.push_back(JudgePortTaken("port", "", settings.port, "port", false));
  return findings;
}

std::string DoctorText(const std::vector<Finding>& findings, bool all) {
  std::string text;
  for (const Finding& one : findings) {
    if (one.state == FindingState::kOk && !all) continue;
    text += fmt::format("{:<{}}{}\n", node::FindingStateName(one.state), kIndent,
                        Bold(Printable(one.title)));
    if (!one.detail.empty()) text += Paragraph(one.detail);
    if (!one.fix.empty()) text += Paragraph("-> " + one.fix);
  }
  const size_t well = CountOf(findings, FindingState::kOk);
  if (well == findings.size()) return text + "everything that exo looks at is well\n";
  if (!all && well > 0) text += fmt::format("{} further checks are well: exo doctor --all\n", well);
  return text;
}

Result<void> RunDoctor(const Settings& settings, const DoctorOptions& options) {
  std::vector<Finding> findings;
  const auto api = OwnNode(settings);
  const auto answer =
      api ? GetSoon(*api, "/v1/internal/doctor") : Result<json>(std::unexpected(api.error()));
  if (answer) {
    findings = service::FindingsIn(*answer);
  } else if (answer.error().code == ErrorCode::kOverloaded) {
    findings = FindNodeToAsk() ? DiagnoseSilentNode(answer.error().message)
                               : DiagnoseWithoutNode(settings, true);
  } else if (answer.error().code == ErrorCode::kDisconnected ||
             answer.error().code == ErrorCode::kDenied) {  // by the node of another folder
    findings = DiagnoseWithoutNode(settings);
  } else {
    return std::unexpected(answer.error());
  }
  if (options.json) {
    PrintJson(service::FindingsJson(findings));
  } else {
    Write(DoctorText(findings, options.all));
  }
  const size_t problems = CountOf(findings, FindingState::kProblem);
  if (problems == 0) return {};
  return Fail(ErrorCode::kIo, "{} problem{} found", problems, problems == 1 ? " was" : "s were");
}

}  // namespace exo::app
