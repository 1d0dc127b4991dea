#include "net/half_closed.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>
#include <sstream>
#include <string>

#include "net/socket.h"
#include "sys/files.h"

namespace exo::net {
namespace {

constexpr size_t kMaxTable = 16u << 20;  // of some 100,000 connections

std::string WordsInHex(const void* bytes, size_t words) {
  std::string text;
  for (size_t i = 0; i < words; ++i) {
    uint32_t word = 0;
    std::memcpy(&word, static_cast<const char*>(bytes) + 4 * i, 4);
    text += fmt::format("{:08X}", word);
  }
  return text;
}

// As the table writes it; `mapped`: an IPv4 address as a socket of IPv6 has it. Empty: not so.
std::string InTable(const wire::Address& address, bool v6, bool mapped) {
  in6_addr six{};
  in_addr four{};
  if (!v6 && !mapped) {
    if (::inet_pton(AF_INET, address.host.c_str(), &four) != 1) return "";
    return fmt::format("{}:{:04X}", WordsInHex(&four, 1), address.port);
  }
  const std::string host = mapped ? "::ffff:" + address.host : address.host;
  if (::inet_pton(AF_INET6, host.c_str(), &six) != 1) return "";
  return fmt::format("{}:{:04X}", WordsInHex(&six, 4), address.port);
}

// Columns: number, local and remote address, state, queues, timer, retransmits, user, timeout,
// inode. A socket that no process has open any more has no inode.
bool HasInode(const std::string& table, const std::string& local, const std::string& remote) {
  const std::string key = " " + local + " " + remote + " ";
  const size_t at = table.find(key);
  if (at == std::string::npos) return false;
  std::istringstream columns(table.substr(at + key.size(), 128));
  std::string skipped;
  for (int i = 0; i < 6; ++i) columns >> skipped;
  uint64_t inode = 0;
  return columns >> inode && inode != 0;
}

bool IsOpenIn(const char* path, const std::string& local, const std::string& remote) {
  if (local.empty() || remote.empty()) return false;
  const auto table = sys::ReadFile(path, kMaxTable);
  return table && HasInode(*table, local, remote);
}

}  // namespace

bool PeerSocketIsOpen(int fd) {
  // The other end's row: what is remote here is local there.
  const wire::Address local = RemoteAddress(fd);
  const wire::Address remote = LocalAddress(fd);
  if (!IsLoopback(local.host)) return false;
  const bool v6 = local.host.find(':') != std::string::npos;
  const auto is_open = [&](const char* path, bool mapped) {
    return IsOpenIn(path, InTable(local, v6, mapped), InTable(remote, v6, mapped));
  };
  if (v6) return is_open("/proc/net/tcp6", false);
  return is_open("/proc/net/tcp", false) || is_open("/proc/net/tcp6", true);
}

}  // namespace exo::net
