#include "fetch/download.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/sha256.h"
#include "fetch/pieces.h"
#include "fetch/status.h"
#include "sys/files.h"
#include "sys/part_file.h"
#include "sys/system.h"

namespace exo::fetch {
namespace {

constexpr Time kLook = std::chrono::milliseconds(50);   // for a cancel
constexpr Time kTell = std::chrono::milliseconds(250);  // between two reports
constexpr Time kWrite = std::chrono::seconds(1);        // between two notes of what has come
constexpr Time kRateWindow = std::chrono::seconds(5);
constexpr Time kLongestWait = std::chrono::seconds(60);  // that a server may ask for
constexpr size_t kMaxPiecesAtOnce = 8;                   // in one request: 128 MiB
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 43;    // ten times the largest published model
constexpr size_t kHashBytes = 1u << 20;

double Seconds(Time time) {
  return std::chrono::duration<double>(time).count();
}

// How fast it goes, from where it was a few seconds ago.
class Rate {
 public:
  void Note(Time now, uint64_t completed) {
    seen_.emplace_back(now, completed);
    while (seen_.size() > 2 && now - seen_[1].first > kRateWindow) seen_.pop_front();
  }
  double BytesPerSecond() const {
    if (seen_.size() < 2 || seen_.back().first == seen_.front().first) return 0;
    return static_cast<double>(seen_.back().second - seen_.front().second) /
           Seconds(seen_.back().first - seen_.front().first);
  }

 private:
  std::deque<std::pair<Time, uint64_t>> seen_;
};

class Downloader {
 public:
  explicit Downloader(const DownloadOptions& options)
      : options_(options), pieces_(options.bytes, Mark()) {}

  Result<void> Run() {
    TRY(Open());
    auto came = Fetch();
    WriteNote();
    if (!came) return came.error().code == ErrorCode::kCorrupt ? Discard(came.error()) : came;
    return Finish();
  }

 private:
  // One connection and the piece that it brings.
  struct Lane {
    std::unique_ptr<Request> request;
    Pieces::Gap gap;
    uint64_t position = 0;
    bool checked = false;  // its header
    Result<void> error;    // why it was ended from here
  };

  std::string Mark() const { return options_.sha256.empty() ? "unknown" : options_.sha256; }
  std::string PartPath() const { return options_.path + ".part"; }
  std::string NotePath() const { return options_.path + ".part.json"; }
  bool IsCancelled() const { return options_.cancel != nullptr && options_.cancel->load(); }

  // Without a hash nothing tells whether what is there belongs to what comes.
  Result<void> Open() {
    part_ = TRY(sys::PartFile::Open(PartPath()));
    const bool whole = TRY(part_->Size()) == options_.bytes;
    if (const auto note = sys::ReadPlainFile(NotePath());
        note && whole && !options_.sha256.empty()) {
      if (auto known = Pieces::Parse(*note, options_.bytes, Mark())) pieces_ = *std::move(known);
    }
    const auto reserved = part_->Reserve(options_.bytes);
    if (!reserved) return Discard(reserved.error());
    if (pieces_.completed() > 0 || options_.prefix.size() > options_.bytes) return {};
    TRY(part_->Write(0, std::as_bytes(std::span(options_.prefix))));
    pieces_.Add(0, options_.prefix.size());
    return {};
  }

  Result<void> Discard(const Error& error) {
    part_->Discard();
    (void)sys::RemoveFile(NotePath());
    part_ = nullptr;
    return std::unexpected(error);
  }

  // A note that cannot be written costs the next attempt time, and nothing else.
  void WriteNote() {
    if (part_ != nullptr) (void)sys::WriteFileAtomically(NotePath(), pieces_.Text(), 0644);
    noted_ = sys::Now();
  }

  Result<void> Fetch() {
    auto result = FetchAll();
    EndLanes();
    return result;
  }

  Result<void> FetchAll() {
    Time wait_until{};
    unsigned failures = 0;
    while (!pieces_.complete()) {
      if (IsCancelled()) return Fail(ErrorCode::kCancelled, "the pull was canceled");
      if (sys::Now() >= wait_until) BeginLanes();
      const uint64_t before = pieces_.completed();
      const auto ended = transfers_.Run(kLook);
      if (pieces_.completed() > before) failures = 0;
      if (sys::Now() - noted_ >= kWrite) WriteNote();  // this process may end without warning
      for (const Transfers::Ended& one : ended) {
        const auto outcome = EndLane(one);
        if (outcome) continue;
        if (outcome.error().code == ErrorCode::kUnsupported) {
          parts_ = false;
          EndLanes();
          break;
        }
        const bool again = outcome.error().code == ErrorCode::kDisconnected ||
                           outcome.error().code == ErrorCode::kOverloaded;
        if (!again) return std::unexpected(outcome.error());
        if (sys::Now() < wait_until) continue;  // another connection of the same attempt
        if (++failures >= options_.tries) return Explain(outcome.error());
        wait_until = sys::Now() + WaitAfter(failures);
      }
      Tell(false);
    }
    return {};
  }

  Time WaitAfter(unsigned failures) {
    const Time doubled = options_.retry * (1 << std::min(failures - 1, 6u));
    return std::max(doubled, std::exchange(asked_to_wait_, Time{}));
  }

  Result<void> Explain(const Error& error) const {
    return Fail(error.code, "{}; {} of {} are here, and another pull goes on from there",
                error.message, FormatSize(pieces_.completed()), FormatSize(options_.bytes));
  }

  void BeginLanes() {
    if (!parts_) {  // it begins anew each time
      if (!lanes_.empty()) return;
      pieces_ = Pieces(options_.bytes, Mark());
      return BeginLane({.pieces = pieces_.count(), .end = options_.bytes});
    }
    // Each gap is a request to the hub, which counts them, and at the end all should have some.
    const size_t most =
        std::clamp<size_t>(pieces_.count() / (2 * options_.connections), 1, kMaxPiecesAtOnce);
    while (lanes_.size() < options_.connections) {
      const auto gap = pieces_.Claim(most);
      if (!gap) return;
      BeginLane(*gap);
    }
  }

  void BeginLane(const Pieces::Gap& gap) {
    auto lane = std::make_unique<Lane>();
    lane->gap = gap;
    lane->position = gap.begin;
    lane->request = std::make_unique<Request>(options_.web, options_.target);
    lane->request->AddHeader("Accept-Encoding: identity");
    if (!tag_.empty()) lane->request->AddHeader("If-Range: " + tag_);
    if (parts_) lane->request->SetRange(gap.begin, gap.end);
    lane->request->OnBody([this, one = lane.get()](std::span<const std::byte> bytes) {
      one->error = Take(*one, bytes);
      return one->error.has_value();
    });
    transfers_.Begin(*lane->request);
    lanes_.push_back(std::move(lane));
  }

  void EndLanes() {
    for (const auto& lane : lanes_) transfers_.Remove(*lane->request);
    lanes_.clear();
  }

  Result<void> Take(Lane& lane, std::span<const std::byte> bytes) {
    if (!lane.checked) TRY(CheckHeader(lane));
    lane.checked = true;
    if (bytes.size() > lane.gap.end - lane.position)
      return Fail(ErrorCode::kCorrupt, "{} sends more than it was asked for", Host());
    TRY(part_->Write(lane.position, bytes));
    pieces_.Add(lane.position, bytes.size());
    lane.position += bytes.size();
    return {};
  }

  // Before a byte of the body is taken: it is the part that was asked for, of the same file.
  Result<void> CheckHeader(const Lane& lane) {
    const unsigned status = lane.request->status();
    const bool all = lane.gap.begin == 0 && lane.gap.end == options_.bytes;
    if (status == 200 && all) return {};
    if (status == 200 && tag_.empty())
      return Fail(ErrorCode::kUnsupported, "{} does not send parts of files", Host());
    if (status == 200) return Fail(ErrorCode::kCorrupt, "the file has changed on {}", Host());
    if (status != 206) return StatusError(*lane.request, Host());
    const auto range = ParseContentRange(lane.request->Header("content-range"));
    if (!range || range->begin != lane.gap.begin)
      return Fail(ErrorCode::kCorrupt, "{} sends another part than was asked for", Host());
    if (range->total != options_.bytes) {
      return Fail(ErrorCode::kCorrupt,
                  "the file has changed on {}: it is {} bytes long instead of {}", Host(),
                  range->total, options_.bytes);
    }
    const std::string tag = lane.request->Header("etag");
    if (options_.sha256.empty() && tag_.empty() && !tag.starts_with("W/")) tag_ = tag;
    return {};
  }

  Result<void> EndLane(const Transfers::Ended& ended) {
    const auto found = std::ranges::find(lanes_, ended.request,
                                         [](const auto& one) { return one->request.get(); });
    const std::unique_ptr<Lane> lane = std::move(*found);
    lanes_.erase(found);
    pieces_.Release(lane->gap);
    asked_to_wait_ = std::min(RetryAfter(*lane->request), kLongestWait);
    if (!lane->error) return lane->error;
    TRY(ended.outcome);
    if (!lane->checked) TRY(CheckHeader(*lane));  // an answer without a body
    if (lane->position < lane->gap.end)
      return Fail(ErrorCode::kDisconnected, "{} ends in the middle of the file", Host());
    return {};
  }

  void Tell(bool verifying) {
    const Time now = sys::Now();
    if (!verifying && now - told_ < kTell) return;
    told_ = now;
    rate_.Note(now, pieces_.completed());
    if (std::exchange(told_bytes_, pieces_.completed()) != pieces_.completed()) heard_ = now;
    const bool silent = !verifying && now - heard_ >= options_.silence;
    const unsigned silent_seconds =
        silent ? std::max(1u, static_cast<unsigned>(Seconds(now - heard_))) : 0;
    const double rate = rate_.BytesPerSecond();
    const auto left = static_cast<double>(options_.bytes - pieces_.completed());
    options_.progress({.completed = pieces_.completed(),
                       .total = options_.bytes,
                       .bytes_per_second = rate,
                       .seconds_left = rate > 0 ? left / rate : 0,
                       .verifying = verifying,
                       .silent_seconds = silent_seconds});
  }

  Result<void> Finish() {
    Tell(true);
    if (!options_.sha256.empty()) {
      const auto hash = HashOfFile(PartPath(), options_.cancel);
      if (!hash) return std::unexpected(hash.error());
      if (*hash != options_.sha256) {
        return Discard({ErrorCode::kCorrupt,
                        fmt::format("what {} sent is not the file that it announced: SHA-256 {} "
                                    "instead of {}; it was thrown away, pull again",
                                    Host(), *hash, options_.sha256)});
      }
    }
    TRY(part_->Commit(options_.path));
    (void)sys::RemoveFile(NotePath());
    return {};
  }

  std::string Host() const { return HostOf(options_.target.url); }

  const DownloadOptions& options_;
  Pieces pieces_;
  std::unique_ptr<sys::PartFile> part_;
  Transfers transfers_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  bool parts_ = true;  // the server sends parts of files
  std::string tag_;    // ETag of the first answer, where there is no hash
  Rate rate_;
  Time told_{}, noted_{}, asked_to_wait_{};
  uint64_t told_bytes_ = 0;
  Time heard_ = sys::Now();  // when bytes have come last
};

}  // namespace

Result<void> Download(const DownloadOptions& options) {
  if (options.bytes > kMaxFileBytes) {
    return Fail(ErrorCode::kCorrupt, "{} announces a file of {} (limit {})",
                HostOf(options.target.url), FormatSize(options.bytes), FormatSize(kMaxFileBytes));
  }
  return Downloader(options).Run();
}

Result<std::string> HashOfFile(const std::string& path, const std::atomic<bool>* cancel) {
  const auto file = TRY(sys::RealDisk().Open(path));
  const uint64_t bytes = file->stamp().bytes;
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(bytes, kHashBytes)));
  Sha256 hash;
  for (uint64_t at = 0; at < bytes;) {
    if (cancel != nullptr && cancel->load())
      return Fail(ErrorCode::kCancelled, "the pull was canceled");
    const auto piece = std::span(buffer).first(std::min<uint64_t>(buffer.size(), bytes - at));
    TRY(file->Read(at, piece));
    hash.Update(piece);
    at += piece.size();
  }
  return hash.Finish().Hex();
}

}  // namespace exo::fetch
