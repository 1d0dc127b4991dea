#include "app/unit_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/text.h"

namespace exo::app {
namespace {

// What a unit gives every service of exo. An exit code of 2 is a wrong setting, which another start
// does not mend. The filter of system calls is the set that systemd has for services, without what
// changes users and keyrings; src/model compiles expressions to machine code (PCRE2), so
// that MemoryDenyWriteExecute= is not here.
constexpr std::string_view kCommon =
    "Restart=on-failure\n"
    "RestartSec=2\n"
    "RestartPreventExitStatus=2\n"
    "TimeoutStopSec=10\n"
    "UMask=0077\n"
    "\n"
    "# Room for the rest of the machine; no memory with prompts in it on disk after a crash.\n"
    "MemoryMax=90%\n"
    "OOMScoreAdjust=200\n"
    "TasksMax=4096\n"
    "LimitNOFILE=65536\n"
    "LimitCORE=0\n"
    "\n"
    "# Nothing that exo does needs more.\n"
    "NoNewPrivileges=yes\n"
    "LockPersonality=yes\n"
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX\n"
    "RestrictNamespaces=yes\n"
    "RestrictRealtime=yes\n"
    "RestrictSUIDSGID=yes\n"
    "SystemCallArchitectures=native\n"
    "SystemCallFilter=@system-service\n"
    "SystemCallFilter=~@keyring @privileged @setuid\n"
    "# SQLite gives its journals the owner of the database.\n"
    "SystemCallFilter=@chown\n";

// Only the system's manager can do these without user namespaces, which some systems forbid.
// ProcSubset=pid is not here: how much memory and load there is stands in /proc.
constexpr std::string_view kSystemOnly =
    "CapabilityBoundingSet=\n"
    "PrivateDevices=yes\n"
    "PrivateTmp=yes\n"
    "PrivateUsers=yes\n"
    "ProtectClock=yes\n"
    "ProtectControlGroups=yes\n"
    "ProtectHome=yes\n"
    "ProtectHostname=yes\n"
    "ProtectKernelLogs=yes\n"
    "ProtectKernelModules=yes\n"
    "ProtectKernelTunables=yes\n"
    "ProtectProc=invisible\n"
    "ProtectSystem=strict\n"
    "RemoveIPC=yes\n";

// Where the system's service sees nothing, or something else.
constexpr std::string_view kHidden[] = {"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"};

// A path as a word of a unit: specifiers (%) mean themselves, and spaces end no word.
Result<std::string> UnitWord(const std::string& path) {
  const bool absolute = path.starts_with('/');
  const bool control = std::ranges::any_of(path, [](char c) { return c >= 0 && c < ' '; });
  if (!absolute || control || !IsUtf8(path)) {
    return Fail(ErrorCode::kInvalid,
                "a systemd unit cannot name '{}': it needs an absolute path, in UTF-8 and without "
                "control characters",
                path);
  }
  std::string word = "\"";
  for (const char c : path) {
    if (c == '%') word += '%';
    if (c == '"' || c == '\\') word += '\\';
    word += c;
  }
  return word + "\"";
}

}  // namespace

Result<std::string> UnitText(const UnitOptions& options) {
  const std::string program = TRY(UnitWord(options.program));
  const auto hides = [&](std::string_view folder) { return options.program.starts_with(folder); };
  if (options.system && std::ranges::any_of(kHidden, hides)) {
    return Fail(ErrorCode::kInvalid,
                "the system's service does not see {} (home folders and temporary files are hidden "
                "from it): install exo first (sudo make install, or the Debian package), or name "
                "another program with --program",
                options.program);
  }
  std::string text = "[Unit]\nDescription=exo, one computer out of the devices of a home\n";
  text += "Documentation=man:exo(1)\n";
  if (options.system) text += "After=network.target\n";
  text += fmt::format("\n[Service]\nType=notify\nExecStart={} up\n", program);
  if (options.system) {
    text += fmt::format("User=exo\nDynamicUser=yes\nEnvironment=EXO_HOME={}\n", kSystemDataFolder);
    text += "StateDirectory=exo\nStateDirectoryMode=0700\nRuntimeDirectory=exo\n";
  } else if (!options.data_folder.empty()) {
    const std::string folder = TRY(UnitWord(options.data_folder));
    text += fmt::format("Environment=\"EXO_HOME={}\n", folder.substr(1));
  }
  text += kCommon;
  text += options.system ? kSystemOnly : "ProtectSystem=full\n";
  text += fmt::format("\n[Install]\nWantedBy={}\n",
                      options.system ? "multi-user.target" : "default.target");
  return text;
}

}  // namespace exo::app
