// Who was let in, approved, forgotten, and who tried a wrong code: one line of JSON each in
// audit.log of the data folder, only ever appended. Each line has the SHA-256 of the one before and
// of itself, so that a line that was changed or taken out from the middle shows; lines cut from the
// end do not, unless somebody has kept a later hash. A line that was torn while it was written (a
// power cut) is cut off before the next one, which says so. No prompt, code or secret is ever in
// it.
//
// Thread: Add on the loop; Read any.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "node/jobs.h"

namespace exo::node {

struct AuditEntry {
  std::string event;  // trusted, joined, asked, approved, forgotten, wrong code, …
  NodeId device = {};
  std::string name = {};    // of the device, as far as it is known
  std::string detail = {};  // for display
  int64_t time = 0;         // seconds since 1970; set by Add
};

// What a log says.
struct AuditTrail {
  std::vector<AuditEntry> entries;
  uint64_t torn_bytes = 0;  // of a last line that was not written to its end; 0: it is whole
};

class AuditLog {
 public:
  AuditLog(Jobs& jobs, std::string folder) : jobs_(jobs), folder_(std::move(folder)) {}

  // Written by a job, in order. What cannot be written is said in the log and lost.
  void Add(AuditEntry entry);
  // What no job has written when the node ends is written now.
  void Flush();

  // All whole lines, checked. Errors: kIo; kCorrupt with the number of the first line that is not
  // as it was written.
  static Result<AuditTrail> Read(const std::string& folder);

 private:
  void Write();

  Jobs& jobs_;
  const std::string folder_;
  std::deque<AuditEntry> queue_;
  bool writing_ = false;
};

}  // namespace exo::node
