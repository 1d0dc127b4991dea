// Where the conversations of this node are: a file of its data folder (mode 0600) that is opened
// when it is first needed; where that fails, it is tried again the next time. One that is damaged
// is moved aside and a fresh one taken, which the members of the cluster fill again.
//
// Thread: any; one piece of work at a time.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "base/mutex.h"
#include "base/result.h"
#include "store/conversations.h"

namespace exo::store {

class ConversationStore {
 public:
  explicit ConversationStore(ConversationFileOptions options) : options_(std::move(options)) {}

  // work(ConversationFile&) -> Result<T>. Errors: those of `work` and of opening the file;
  // kCorrupt: the file was damaged and is moved aside by now.
  template <class Work>
  auto Run(Work&& work) EXO_EXCLUDES(mutex_) {
    using Done = std::invoke_result_t<Work&, ConversationFile&>;
    const MutexLock lock(mutex_);
    if (auto opened = Open(); !opened) return Done(std::unexpected(opened.error()));
    Done done = work(*file_);
    if (!done && done.error().code == ErrorCode::kCorrupt) done = Done(MoveAside(done.error()));
    return done;
  }

 private:
  Result<void> Open() EXO_REQUIRES(mutex_);
  std::unexpected<Error> MoveAside(const Error& damage) EXO_REQUIRES(mutex_);

  const ConversationFileOptions options_;
  Mutex mutex_;
  std::unique_ptr<ConversationFile> file_ EXO_GUARDED_BY(mutex_);  // null: not open
};

}  // namespace exo::store
