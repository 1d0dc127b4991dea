#include "store/conversation_store.h"

#include "base/log.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::store {

Result<void> ConversationStore::Open() {
  if (file_ != nullptr) return {};
  auto opened = ConversationFile::Open(options_);
  if (!opened && opened.error().code == ErrorCode::kCorrupt) {
    (void)MoveAside(opened.error());
    opened = ConversationFile::Open(options_);
  }
  file_ = TRY(std::move(opened));
  return {};
}

std::unexpected<Error> ConversationStore::MoveAside(const Error& damage) {
  file_.reset();
  const std::string aside = fmt::format("{}.damaged-{}", options_.path, sys::WallClockSeconds());
  // Its log belongs to it: beside a fresh file it would be taken for that one's.
  const std::string log = options_.path + "-wal";
  auto moved = sys::RenameFile(options_.path, aside);
  if (moved && sys::NameExists(log)) moved = sys::RenameFile(log, aside + "-wal");
  const Error told = moved ? Error{ErrorCode::kCorrupt,
                                   fmt::format("{}: it was moved to {}, and a new one begun; other "
                                               "members bring back what they have",
                                               damage.message, aside)}
                           : Wrap(damage, moved.error().message).error();
  LOG(kError, "{}", told.message);
  return std::unexpected(told);
}

}  // namespace exo::store
