#include "app/pairing_commands.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "app/client_commands.h"
#include "app/data_folder.h"
#include "app/output.h"
#include "app/qr_code.h"
#include "app/terminal.h"
#include "base/text.h"
#include "node/audit_log.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;

// As it is read aloud: 123 456.
std::string Spaced(const std::string& code) {
  return code.size() == 6 ? code.substr(0, 3) + " " + code.substr(3) : code;
}

// A code to be scanned, on a terminal, of a node that other machines are meant to reach.
bool IsToBeScanned() {
  const auto node = FindNodeToAsk();
  return node && node->listens && sys::IsTerminal(1);
}

void PrintDevice(const json& device, const char* what, bool as_json) {
  if (as_json) {
    PrintJson(device);
    return;
  }
  Print("{} ({}) {}\n", Printable(device.value("name", "")), device.value("id", "").substr(0, 16),
        what);
}

// Nothing for what concerns no device.
std::string IdText(const NodeId& id) {
  return id.IsZero() ? "" : id.Hex();
}

}  // namespace

Result<void> RunInvite(const Settings& settings, const InviteOptions& options) {
  const json invite =
      TRY(TRY(OwnNode(settings)).Post("/v1/internal/invite", {{"guest", options.guest}}));
  if (options.json) {
    PrintJson(invite);
    return {};
  }
  Print("code: {}   (for {} seconds, one device{})\n\n  on the other device: exo join {}\n",
        Spaced(invite.value("code", "")), invite.value("code_seconds", 0u),
        options.guest ? ", as a guest" : "", invite.value("code", ""));
  const json links = invite.value("links", json::array());
  if (links.empty()) return {};
  Print("\nor, where the devices do not hear each other, for {} minutes:\n\n",
        invite.value("link_seconds", 0u) / 60);
  for (const json& link : links) {
    if (link.is_string()) Print("  exo join {}\n", Printable(link.get<std::string>()));
  }
  if (IsToBeScanned() && links[0].is_string())
    Print("\n{}", TRY(QrCodeText(links[0].get<std::string>())));
  return {};
}

Result<void> RunJoinByCode(const Settings& settings, const JoinOptions& options) {
  const HttpClient api = TRY(OwnNode(settings));
  json body = json::object();
  if (!options.code.empty()) body["code"] = options.code;
  if (!options.at.empty()) body["at"] = options.at;
  const json joined = TRY(api.Post("/v1/internal/join", body));
  if (options.json) {
    PrintJson(joined);
    return {};
  }
  const std::string name = joined.value("name", "");
  Print("joined the cluster of {} ({}){}\n", Printable(name.empty() ? "the device" : name),
        joined.value("id", "").substr(0, 16),
        joined.value("guest", false) ? " as a guest: it computes and sees no text" : "");
  return {};
}

Result<void> RunApprove(const Settings& settings, const DeviceOptions& options) {
  PrintDevice(TRY(TRY(OwnNode(settings))
                      .Post("/v1/internal/approve",
                            {{"device", options.device}, {"guest", options.guest}})),
              "may join: run `exo join --ask` on it once more", options.json);
  return {};
}

Result<void> RunForget(const Settings& settings, const DeviceOptions& options) {
  PrintDevice(TRY(TRY(OwnNode(settings)).Post("/v1/internal/forget", {{"device", options.device}})),
              "is forgotten, for ever; its key is refused by all devices", options.json);
  return {};
}

Result<void> RunRotateKey(const Settings& settings, bool as_json) {
  const json device = TRY(TRY(OwnNode(settings)).Post("/v1/internal/rotate-key", json::object()));
  if (as_json) {
    PrintJson(device);
    return {};
  }
  Print(
      "this device gets a new key: it is {} when exo is started again; do that now. From then on "
      "its former key is refused, and devices that are away learn it when they meet one that "
      "knows\n",
      device.value("id", "").substr(0, 16));
  return {};
}

Result<void> RunAudit(const Settings&, bool as_json) {
  const auto [entries, torn_bytes] = TRY(node::AuditLog::Read(sys::DataFolder()));
  if (torn_bytes > 0) {
    Note(
        "exo: the last line of the log is torn, as by a power cut: what it said is lost, and its "
        "{} "
        "bytes are cut off when exo writes the next one\n",
        torn_bytes);
  }
  if (as_json) {
    json list = json::array();
    for (const node::AuditEntry& entry : entries) {
      list.push_back({{"time", entry.time},
                      {"event", entry.event},
                      {"device", IdText(entry.device)},
                      {"name", entry.name},
                      {"detail", entry.detail}});
    }
    PrintJson(list);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"TIME", "EVENT", "DEVICE", "ID", "DETAIL"}};
  for (const node::AuditEntry& entry : entries) {
    rows.push_back({TimeText(entry.time), entry.event, entry.name,
                    IdText(entry.device).substr(0, 16), entry.detail});
  }
  Print("{}", Table(rows));
  return {};
}

}  // namespace exo::app
