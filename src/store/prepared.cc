#include "store/prepared.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/sha256.h"
#include "base/units.h"
#include "store/bytes.h"

namespace exo::store {
namespace {

constexpr std::string_view kPreparedMagic{"exo-prepared-3\n\0", 16};
constexpr uint64_t kAlignment = 4096;   // of a matrix: pages belong to one
constexpr uint64_t kPiece = 16 * kMiB;  // packed and written at a time
constexpr uint32_t kMaxName = 256;
constexpr uint64_t kMaxHeader = kMaxManifestBytes + 64 * kMiB;

void AppendText(std::vector<std::byte>& out, std::string_view text) {
  AppendInt(out, static_cast<uint32_t>(text.size()));
  Append(out, BytesOf(text));
}

Result<std::string> TakeText(ByteReader& reader) {
  const auto size = TRY(reader.TakeInt<uint32_t>());
  if (size > kMaxName)
    return Fail(ErrorCode::kCorrupt, "a name of {} bytes in a prepared file", size);
  const auto bytes = TRY(reader.Take(size));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// Every matrix of the model, each once.
std::vector<const model::TensorRef*> Matrices(const Manifest& manifest) {
  const backend::StageSpec all{.config = manifest.config(),
                               .tensors = manifest.tensors(),
                               .layer_begin = 0,
                               .layer_end = manifest.config()->layers,
                               .lead = true};
  std::vector<const model::TensorRef*> matrices = backend::StageTensors(all);
  std::erase_if(matrices, [](const model::TensorRef* tensor) { return tensor->vector; });
  return matrices;
}

uint64_t PackedBytes(const kernels::Kernels& kernels, const model::TensorRef& tensor) {
  return tensor.count * kernels.PackedBytes(tensor.type, tensor.rows, tensor.cols);
}

// Everything in front of the panels; offsets are counted from the file's start, so the header's own
// size is found by writing it twice.
std::vector<std::byte> MakeHeader(const PrepareJob& job, uint64_t first_offset) {
  std::vector<std::byte> header;
  AppendText(header, job.kernels.layout());
  Append(header, std::as_bytes(std::span(job.source.stamp.bytes)));
  AppendInt<uint64_t>(header, job.manifest.bytes().size());
  Append(header, job.manifest.bytes());
  const auto matrices = Matrices(job.manifest);
  AppendInt(header, static_cast<uint32_t>(matrices.size()));
  uint64_t offset = first_offset;
  for (const model::TensorRef* tensor : matrices) {
    const uint64_t bytes = PackedBytes(job.kernels, *tensor);
    AppendText(header, tensor->name);
    AppendInt<uint64_t>(header, offset);
    AppendInt<uint64_t>(header, bytes);
    offset = RoundUp(offset + bytes, kAlignment);
  }
  std::vector<std::byte> whole;
  Append(whole, BytesOf(kPreparedMagic));
  AppendInt<uint64_t>(whole, header.size());
  Append(whole, header);
  const Hash256 hash = Sha256Of(whole);
  Append(whole, std::as_bytes(std::span(hash.bytes)));
  return whole;
}

// Packs one matrix piece by piece, each in parallel, and appends it.
class MatrixWriter {
 public:
  MatrixWriter(const PrepareJob& job, sys::FileWriter& out, uint64_t total)
      : job_(job), out_(out), total_(total) {}

  uint64_t written() const { return written_; }

  Result<void> Write(const model::TensorRef& tensor) {
    const size_t panel_bytes =
        job_.kernels.PackedBytes(tensor.type, kernels::kPanelRows, tensor.cols);
    const size_t panels = (tensor.rows + kernels::kPanelRows - 1) / kernels::kPanelRows;
    const size_t per_piece = std::max<size_t>(1, kPiece / panel_bytes);
    for (uint64_t index = 0; index < tensor.count; ++index) {
      for (size_t first = 0; first < panels; first += per_piece) {
        const size_t count = std::min(per_piece, panels - first);
        piece_.assign(count * panel_bytes, std::byte{});
        TRY(Pack(tensor, index, first, count, panel_bytes));
        TRY(out_.Append(piece_));
      }
    }
    written_ += tensor.count * panels * panel_bytes;
    const uint64_t padding = RoundUp(written_, kAlignment) - written_;
    written_ += padding;
    return out_.Append(std::vector<std::byte>(padding));
  }

 private:
  // Panels [first, first + count) of matrix `index` of the tensor.
  Result<void> Pack(const model::TensorRef& tensor, uint64_t index, size_t first, size_t count,
                    size_t panel_bytes) {
    const uint64_t row_bytes = tensor.bytes / (tensor.count * tensor.rows);
    const uint64_t begin = index * tensor.rows + first * kernels::kPanelRows;
    const uint64_t rows =
        std::min<uint64_t>(count * kernels::kPanelRows, tensor.rows - first * kernels::kPanelRows);
    const auto bytes = TRY(job_.tensors.Read(tensor, begin * row_bytes, rows * row_bytes));
    job_.pool.Run(static_cast<uint32_t>(count), [&](uint32_t panel, unsigned) {
      job_.kernels.Pack(tensor.type, tensor.rows, tensor.cols, first + panel, 1,
                        bytes.data() + panel * kernels::kPanelRows * row_bytes,
                        piece_.data() + panel * panel_bytes);
    });
    job_.tensors.Done(tensor, begin * row_bytes, rows * row_bytes);
    done_ += rows * row_bytes;
    if (job_.progress) job_.progress(done_, total_);
    return {};
  }

  const PrepareJob& job_;
  sys::FileWriter& out_;
  const uint64_t total_;
  uint64_t done_ = 0;
  uint64_t written_ = 0;
  std::vector<std::byte> piece_;
};

}  // namespace

std::string PreparedPath(const std::string& folder, const std::string& model_path) {
  const std::string hash = Sha256Of(BytesOf(sys::CanonicalPath(model_path))).Hex();
  return folder + "/" + hash.substr(0, 32) + ".exo";
}

Result<uint64_t> WritePrepared(const PrepareJob& job, const std::string& path) {
  const uint64_t header_bytes = MakeHeader(job, 0).size();
  const uint64_t first_offset = RoundUp(header_bytes, kAlignment);
  std::vector<std::byte> header = MakeHeader(job, first_offset);
  header.resize(first_offset);
  const auto out = TRY(sys::FileWriter::Create(path, 0600));
  TRY(out->Append(header));
  uint64_t total = 0, size = first_offset;
  const auto matrices = Matrices(job.manifest);
  for (const model::TensorRef* tensor : matrices) {
    total += tensor->bytes;
    size += RoundUp(PackedBytes(job.kernels, *tensor), kAlignment);
  }
  MatrixWriter writer(job, *out, total);
  for (const model::TensorRef* tensor : matrices) TRY(writer.Write(*tensor));
  CHECK_EQ(first_offset + writer.written(), size);  // or the header names other places
  TRY(out->Commit());
  return size;
}

Result<std::shared_ptr<const PreparedFile>> PreparedFile::Open(const std::string& path,
                                                               const KnownFile& source) {
  auto prepared = std::make_shared<PreparedFile>();
  prepared->file_ = TRY(sys::MappedFile::Open(path));
  if (auto read = prepared->ReadHeader(source); !read) return Wrap(read.error(), path);
  prepared->file_->WillNeed();
  return prepared;
}

Result<void> PreparedFile::ReadHeader(const KnownFile& source) {
  const auto all = file_->bytes();
  ByteReader front(all, "the prepared file");
  const auto magic = TRY(front.Take(kPreparedMagic.size()));
  if (std::memcmp(magic.data(), kPreparedMagic.data(), kPreparedMagic.size()) != 0) {
    return Fail(ErrorCode::kCorrupt, "this is not a prepared file of this version of exo");
  }
  const auto header_bytes = TRY(front.TakeInt<uint64_t>());
  if (header_bytes > kMaxHeader)
    return Fail(ErrorCode::kCorrupt, "a header of {} bytes", header_bytes);
  const auto header = TRY(front.Take(header_bytes));
  const auto hash = TRY(front.Take(Hash256::kSize));
  if (std::memcmp(Sha256Of(all.first(kPreparedMagic.size() + 8 + header_bytes)).bytes.data(),
                  hash.data(), hash.size()) != 0) {
    return Fail(ErrorCode::kCorrupt, "the header is damaged");
  }
  ByteReader reader(header, "the header");
  layout_ = TRY(TakeText(reader));
  const auto stamp = TRY(reader.Take(Hash256::kSize));
  if (std::memcmp(stamp.data(), source.stamp.bytes.data(), stamp.size()) != 0) {
    return Fail(ErrorCode::kInvalid, "it was made from an earlier state of {}", source.path);
  }
  const auto manifest = TRY(reader.Take(TRY(reader.TakeInt<uint64_t>())));
  manifest_ = TRY(Manifest::FromBytes({manifest.begin(), manifest.end()}));
  TRY(manifest_->CheckIsModel());
  for (auto count = TRY(reader.TakeInt<uint32_t>()); count > 0; --count) {
    const std::string name = TRY(TakeText(reader));
    const Range range{TRY(reader.TakeInt<uint64_t>()), TRY(reader.TakeInt<uint64_t>())};
    if (range.offset % 64 != 0 || range.offset > all.size() ||
        range.bytes > all.size() - range.offset) {
      return Fail(ErrorCode::kCorrupt, "the panels of {} lie outside the file: it was cut off",
                  name);
    }
    matrices_[name] = range;
  }
  return {};
}

std::span<const std::byte> PreparedFile::Find(const std::string& tensor) const {
  const auto found = matrices_.find(tensor);
  if (found == matrices_.end()) return {};
  return file_->bytes().subspan(found->second.offset, found->second.bytes);
}

}  // namespace exo::store
