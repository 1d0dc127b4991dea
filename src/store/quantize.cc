#include "store/quantize.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "base/units.h"
#include "model/gguf.h"
#include "model/gguf_writer.h"
#include "model/tensors.h"
#include "store/checkpoint_folder.h"
#include "store/model.h"
#include "sys/files.h"
#include "tensor/dequantize.h"
#include "tensor/quantize.h"

namespace exo::store {
namespace {

using tensor::DType;

constexpr uint64_t kItemValues = 16384;       // quantized by a thread at a time: 64 KiB of floats
constexpr uint64_t kPieceValues = 4u << 20;   // read and written at a time
constexpr uint32_t kQuantizationVersion = 2;  // of ggml's block formats

// llama.cpp's number for a file whose matrices are mostly of a type: Q4_K and Q5_K are its "small"
// mixtures.
uint32_t FileType(DType type) {
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kBF16:
      return 32;
    case DType::kQ4_0:
      return 2;
    case DType::kQ8_0:
      return 7;
    case DType::kQ4_K:
      return 14;
    case DType::kQ5_K:
      return 16;
    case DType::kQ6_K:
      return 18;
    default:
      internal::CheckFailed(__FILE__, __LINE__, "not a writable type");
  }
}

// The source's files and their joined head.
struct Source {
  std::vector<OpenedFile> files;
  std::vector<std::vector<std::byte>> heads;  // `gguf` points into them
  model::Gguf gguf;
  uint64_t bytes = 0;
};

Result<Source> OpenSource(const std::string& path) {
  Source source;
  std::vector<model::Gguf> parts;
  for (const std::string& part : TRY(FindParts(sys::RealDisk(), path)).paths) {
    const auto& file = *source.files.emplace_back(TRY(OpenModelPart(sys::RealDisk(), part)));
    source.bytes += file.stamp().bytes;
    auto head = ReadHead(file);
    if (!head) return Wrap(head.error(), part);
    source.heads.push_back(*std::move(head));
    auto parsed = model::Gguf::ParseHead(source.heads.back(), file.stamp().bytes);
    if (!parsed) return Wrap(parsed.error(), part);
    parts.push_back(*std::move(parsed));
  }
  auto joined = model::Gguf::JoinSplits(std::move(parts));
  if (!joined) return Wrap(joined.error(), path);
  source.gguf = *std::move(joined);
  return source;
}

// A tensor of the source and what it becomes.
struct Change {
  const model::GgufTensor* tensor;
  DType from;
  DType to;
  uint64_t cols;
  uint64_t rows;

  uint64_t FromRow() const { return tensor->bytes / rows; }
  uint64_t ToRow() const {
    return cols / tensor::Info(to).block_values * tensor::Info(to).block_bytes;
  }
};

// Small, or so sensitive that quantizers leave them.
bool Stays(const model::GgufTensor& tensor) {
  const std::string_view name = tensor.name;
  return tensor.dims.size() < 2 || !name.ends_with(".weight") || name.find("_norm") != name.npos ||
         name.find("ffn_gate_inp") != name.npos;
}

DType ChooseType(const model::Gguf& gguf, const model::GgufTensor& tensor, DType from,
                 std::optional<DType> type) {
  if (!type || Stays(tensor)) return from;
  const DType wanted = *type;
  if (!tensor::Info(wanted).quantized) return wanted;
  const std::string_view head =
      gguf.FindTensor("output.weight") == nullptr ? "token_embd.weight" : "output.weight";
  DType to = tensor.name == head && wanted != DType::kQ8_0 ? DType::kQ6_K : wanted;
  if (tensor.dims[0] % tensor::Info(to).block_values != 0) to = DType::kQ8_0;
  return tensor.dims[0] % tensor::Info(to).block_values == 0 ? to : from;
}

Result<std::vector<Change>> PlanChanges(const model::Gguf& gguf, std::optional<DType> wanted) {
  std::vector<Change> changes;
  for (const model::GgufTensor& tensor : gguf.tensors()) {
    const auto info = tensor::FindDType(tensor.type);
    if (!info) {
      return Fail(ErrorCode::kUnsupported, "tensor '{}' is {}, which this build cannot read",
                  tensor.name, tensor::GgufTypeName(tensor.type));
    }
    uint64_t rows = 1;
    for (size_t i = 1; i < tensor.dims.size(); ++i) rows *= tensor.dims[i];
    changes.push_back({.tensor = &tensor,
                       .from = info->type,
                       .to = ChooseType(gguf, tensor, info->type, wanted),
                       .cols = tensor.dims[0],
                       .rows = rows});
  }
  return changes;
}

model::GgufWriter MakeHead(const model::Gguf& gguf, const std::vector<Change>& changes,
                           std::optional<DType> wanted) {
  model::GgufWriter head(gguf.alignment());
  const auto replaced = [&](std::string_view key) {
    return key.starts_with("split.") ||
           (wanted && (key == "general.file_type" || key == "general.quantization_version"));
  };
  for (const model::GgufKey& key : gguf.keys()) {
    if (replaced(key.name)) continue;
    head.Key(key.name, static_cast<model::ValueType>(key.type),
             {reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size()});
  }
  if (wanted) {
    head.Key("general.file_type", model::ValueType::kU32, model::EncodeNumber(FileType(*wanted)));
    head.Key("general.quantization_version", model::ValueType::kU32,
             model::EncodeNumber(kQuantizationVersion));
  }
  for (const Change& change : changes) {
    head.Tensor(change.tensor->name, change.tensor->dims, static_cast<uint32_t>(change.to),
                change.rows * change.ToRow());
  }
  return head;
}

// The error of the first row that has one, whichever thread finds it.
class FirstError {
 public:
  void Add(uint64_t row, Error error) {
    const MutexLock lock(mutex_);
    if (error_ && row_ < row) return;
    row_ = row;
    error_ = std::move(error);
  }
  Result<void> Check(const std::string& tensor) const {
    const MutexLock lock(mutex_);
    if (!error_) return {};
    return Fail(error_->code, "tensor '{}', row {}: {}", tensor, row_, error_->message);
  }

 private:
  mutable Mutex mutex_;
  uint64_t row_ EXO_GUARDED_BY(mutex_) = 0;
  std::optional<Error> error_ EXO_GUARDED_BY(mutex_);
};

// Appends tensors in pieces of rows, the rows of each in parallel.
class Converter {
 public:
  Converter(const QuantizeJob& job, const Source& source, sys::FileWriter& out)
      : job_(job), source_(source), out_(out), scratch_(job.pool.threads()) {
    for (const model::GgufTensor& tensor : source.gguf.tensors()) total_ += tensor.bytes;
  }

  Result<void> Convert(const Change& change) {
    const uint64_t rows_at_once = std::max<uint64_t>(1, kPieceValues / change.cols);
    for (uint64_t first = 0; first < change.rows; first += rows_at_once) {
      TRY(ConvertRows(change, first, std::min(rows_at_once, change.rows - first)));
    }
    return {};
  }

 private:
  Result<void> ConvertRows(const Change& change, uint64_t first, uint64_t rows) {
    from_.resize(rows * change.FromRow());
    TRY(source_.files[change.tensor->part]->Read(change.tensor->offset + first * change.FromRow(),
                                                 from_));
    if (change.from == change.to) {
      TRY(out_.Append(from_));
    } else {
      piece_.resize(rows * change.ToRow());
      TRY(Quantize(change, first, rows, from_.data()));
      TRY(out_.Append(piece_));
    }
    done_ += from_.size();
    if (job_.progress) job_.progress(done_, total_);
    return {};
  }

  Result<void> Quantize(const Change& change, uint64_t first, uint64_t rows,
                        const std::byte* from) {
    const uint64_t per_item = std::max<uint64_t>(1, kItemValues / change.cols);
    FirstError failed;
    job_.pool.Run(static_cast<uint32_t>((rows + per_item - 1) / per_item),
                  [&](uint32_t item, unsigned worker) {
                    std::vector<float>& values = scratch_[worker];
                    values.resize(change.cols);
                    const uint64_t begin = item * per_item, end = std::min(rows, begin + per_item);
                    for (uint64_t row = begin; row < end; ++row) {
                      tensor::DequantizeRow(change.from, from + row * change.FromRow(), change.cols,
                                            values.data());
                      const auto done = tensor::QuantizeRow(change.to, values,
                                                            piece_.data() + row * change.ToRow());
                      if (!done) failed.Add(first + row, done.error());
                    }
                  });
    return failed.Check(change.tensor->name);
  }

  const QuantizeJob& job_;
  const Source& source_;
  sys::FileWriter& out_;
  std::vector<std::vector<float>> scratch_;  // one row of each worker
  std::vector<std::byte> from_, piece_;
  uint64_t total_ = 0;
  uint64_t done_ = 0;
};

Result<void> CheckTarget(const QuantizeJob& job, const std::string& target) {
  TRY(CheckIsAnotherFile(job.source, target));
  if (!job.overwrite && sys::Exists(target)) {
    return Fail(ErrorCode::kInvalid, "{} exists: choose another name, or replace it with --force",
                target);
  }
  return {};
}

// A folder's tensors are what its files have: whether they make a model is asked before one is
// written. A GGUF file was one to begin with, perhaps of an architecture that only others run.
Result<void> CheckIsWhole(const QuantizeJob& job, const model::Gguf& gguf) {
  if (!IsCheckpoint(sys::RealDisk(), job.source)) return {};
  const model::ModelConfig config = TRY(model::ReadConfig(gguf));
  TRY(model::FindTensors(gguf, config));
  return {};
}

}  // namespace

Result<QuantizeSummary> QuantizeModel(const QuantizeJob& job, const std::string& target) {
  TRY(CheckTarget(job, target));
  const Source source = TRY(OpenSource(job.source));
  TRY(CheckIsWhole(job, source.gguf));
  const std::vector<Change> changes = TRY(PlanChanges(source.gguf, job.type));
  const model::GgufWriter writer = MakeHead(source.gguf, changes, job.type);
  const auto out = TRY(sys::FileWriter::Create(target, 0644));
  const std::string head = writer.Head();
  TRY(out->Append(std::as_bytes(std::span(head))));
  QuantizeSummary summary{.source_bytes = source.bytes, .bytes = head.size()};
  Converter converter(job, source, *out);
  for (const Change& change : changes) {
    TRY(converter.Convert(change));
    const uint64_t bytes = change.rows * change.ToRow(), padding = writer.Padding(bytes);
    TRY(out->Append(std::vector<std::byte>(padding)));
    summary.bytes += bytes + padding;
    summary.values += change.rows * change.cols;
    ++summary.tensors[std::string(tensor::Info(change.to).name)];
    if (change.from != change.to && tensor::Info(change.from).quantized) ++summary.requantized;
  }
  TRY(out->Commit());
  return summary;
}

}  // namespace exo::store
