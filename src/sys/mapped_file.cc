#include "sys/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>

#include "base/check.h"
#include "sys/files.h"

namespace exo::sys {
namespace {

// The live mappings, for the signal handler: it may take no lock. A slot is taken by its `broken`,
// and begin and end are set before the mapping is handed out.
struct Slot {
  std::atomic<std::atomic<bool>*> broken{nullptr};
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
};
constinit Slot slots[MappedFile::kMaxMappings];
struct sigaction previous_action;  // set once, before the first mapping
uintptr_t page_size;               // likewise

void OnBusError(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Slot& slot : slots) {
    const uintptr_t end = slot.end.load();
    if (address < slot.begin.load() || address >= end) continue;
    std::atomic<bool>* broken = slot.broken.load();
    if (broken == nullptr) continue;
    // The rest of the file is gone too, so one call is enough for a file that was cut off.
    const uintptr_t from = address / page_size * page_size;
    void* zeros = ::mmap(reinterpret_cast<void*>(from), end - from, PROT_READ,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) break;
    broken->store(true);
    return;
  }
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(signal, info, context);
  } else {
    ::sigaction(signal, &previous_action, nullptr);  // the access faults again and ends the program
  }
}

void InstallHandler() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action{};
    action.sa_sigaction = OnBusError;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    CHECK_EQ(::sigaction(SIGBUS, nullptr, &previous_action), 0);
    CHECK_EQ(::sigaction(SIGBUS, &action, nullptr), 0);
  });
}

size_t TakeSlot(std::atomic<bool>& broken) {
  for (size_t i = 0; i < MappedFile::kMaxMappings; ++i) {
    std::atomic<bool>* free = nullptr;
    if (slots[i].broken.compare_exchange_strong(free, &broken)) return i;
  }
  return MappedFile::kMaxMappings;
}

}  // namespace

Result<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  TRY(RealDisk().Look(path));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Fail(ErrorCode::kIo, "cannot open {}: {}", path, std::strerror(errno));
  struct stat info{};
  void* data = MAP_FAILED;
  const bool known = ::fstat(fd, &info) == 0;
  const auto size = static_cast<size_t>(info.st_size);
  if (known && size > 0) data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  const int error = errno;
  ::close(fd);
  if (!known || (size > 0 && data == MAP_FAILED))
    return Fail(ErrorCode::kIo, "cannot map {}: {}", path, std::strerror(error));
  std::unique_ptr<MappedFile> file(new MappedFile());
  if (size == 0) return file;
  file->data_ = static_cast<const std::byte*>(data);
  file->size_ = size;
  InstallHandler();
  file->slot_ = TakeSlot(file->broken_);
  if (file->slot_ == kMaxMappings)
    return Fail(ErrorCode::kOverloaded, "{} files are mapped already (limit)", kMaxMappings);
  const auto begin = reinterpret_cast<uintptr_t>(data);
  slots[file->slot_].begin.store(begin);
  slots[file->slot_].end.store((begin + size + page_size - 1) / page_size * page_size);
  return file;
}

MappedFile::~MappedFile() {
  if (slot_ != kMaxMappings) {
    slots[slot_].end.store(0);
    slots[slot_].begin.store(0);
    slots[slot_].broken.store(nullptr);
  }
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::WillNeed() const {
  if (size_ > 0) ::madvise(const_cast<std::byte*>(data_), size_, MADV_WILLNEED);
}

}  // namespace exo::sys
