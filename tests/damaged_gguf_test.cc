// 2,000 damaged copies of a real model file: every one is refused with a reason or parses to
// something sound, in under a second. CI runs this under AddressSanitizer and
// UndefinedBehaviorSanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/random.h"
#include "model/gguf_value.h"
#include "model/tensors.h"
#include "model/tokenizer.h"
#include "tests/support/processor_time.h"
#include "tests/support/shared_data.h"

namespace exo::model {
namespace {

constexpr size_t kCases = 2000;
using File = std::vector<std::byte>;

// A number in the file that a parser must not believe.
struct Field {
  enum class Kind { kCount, kLength, kType, kDim, kOffset, kOther } kind;
  size_t at;
  size_t width;
};

template <class T>
T Get(const File& file, size_t at) {
  T value;
  std::memcpy(&value, file.data() + at, sizeof(T));
  return value;
}

// Walks a sound file and notes where its numbers are.
class FieldFinder {
 public:
  explicit FieldFinder(const File& file) : file_(file) {}

  std::vector<Field> Find() {
    Note(Field::Kind::kOther, 4);  // magic
    Note(Field::Kind::kOther, 4);  // version
    const uint64_t tensors = Get<uint64_t>(file_, at_);
    Note(Field::Kind::kCount, 8);
    const uint64_t keys = Get<uint64_t>(file_, at_);
    Note(Field::Kind::kCount, 8);
    for (uint64_t i = 0; i < keys; ++i) {
      String();
      const auto type = Get<uint32_t>(file_, at_);
      Note(Field::Kind::kType, 4);
      Value(type);
    }
    for (uint64_t i = 0; i < tensors; ++i) Tensor();
    return fields_;
  }
  size_t head() const { return at_; }

 private:
  void Note(Field::Kind kind, size_t width) {
    fields_.push_back({kind, at_, width});
    at_ += width;
  }
  void String() {
    const uint64_t length = Get<uint64_t>(file_, at_);
    Note(Field::Kind::kLength, 8);
    at_ += length;
  }
  void Value(uint32_t type) {
    constexpr size_t kWidths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == static_cast<uint32_t>(ValueType::kString)) return String();
    if (type != static_cast<uint32_t>(ValueType::kArray))
      return Note(Field::Kind::kOther, kWidths[type]);
    const auto element = Get<uint32_t>(file_, at_);
    Note(Field::Kind::kType, 4);
    const uint64_t count = Get<uint64_t>(file_, at_);
    Note(Field::Kind::kCount, 8);
    for (uint64_t i = 0; i < count; ++i) Value(element);
  }
  void Tensor() {
    String();
    const auto dims = Get<uint32_t>(file_, at_);
    Note(Field::Kind::kCount, 4);
    for (uint32_t i = 0; i < dims; ++i) Note(Field::Kind::kDim, 8);
    Note(Field::Kind::kType, 4);
    Note(Field::Kind::kOffset, 8);
  }

  const File& file_;
  size_t at_ = 0;
  std::vector<Field> fields_;
};

class Damage {
 public:
  Damage(const File& file, uint64_t seed) : file_(file), rng_(seed) {
    FieldFinder finder(file);
    fields_ = finder.Find();
    head_ = finder.head();
    for (const Field& field : fields_) {
      if (field.kind == Field::Kind::kOffset) offsets_.push_back(field.at);
      if (field.kind != Field::Kind::kOther) numbers_.push_back(field);
    }
  }

  File Make(size_t index) {
    switch (index % 8) {
      case 0:
        return CutAtField();
      case 1:
        return CutAnywhere();
      case 2:
        return FlipBits();
      case 3:
      case 4:
        return Lie();
      case 5:
        return Overlap();
      case 6:
        return Splice();
      default:
        return Scribble();
    }
  }

 private:
  size_t Below(size_t bound) { return static_cast<size_t>(rng_.Below(bound)); }
  File Cut(size_t size) {
    return {file_.begin(), file_.begin() + static_cast<std::ptrdiff_t>(size)};
  }

  File CutAtField() {
    const Field& field = fields_[Below(fields_.size())];
    return Cut(field.at + Below(field.width + 1));
  }
  File CutAnywhere() { return Cut(Below(2) == 0 ? Below(head_) : Below(file_.size())); }
  File FlipBits() {
    File file = file_;
    for (size_t i = 0, flips = 1 + Below(4); i < flips; ++i) {
      file[Below(head_)] ^= static_cast<std::byte>(1 << Below(8));
    }
    return file;
  }
  void Write(File& file, const Field& field, uint64_t value) {
    std::memcpy(file.data() + field.at, &value, field.width);
  }
  File Lie() {
    constexpr uint64_t kLies[] = {0,
                                  1,
                                  2,
                                  3,
                                  5,
                                  13,
                                  0x7f,
                                  0xff,
                                  0xffff,
                                  1u << 20,
                                  0x7fffffff,
                                  0x80000000,
                                  0xffffffff,
                                  uint64_t{1} << 40,
                                  uint64_t{1} << 63,
                                  ~uint64_t{0},
                                  ~uint64_t{0} - 7,
                                  ~uint64_t{31}};
    File file = file_;
    const Field& field = numbers_[Below(numbers_.size())];
    uint64_t old = 0;
    std::memcpy(&old, file.data() + field.at, field.width);
    const uint64_t lie = kLies[Below(std::size(kLies))];
    Write(file, field, Below(3) == 0 ? old + lie : lie);
    return file;
  }
  File Overlap() {
    File file = file_;
    const uint64_t other = Get<uint64_t>(file, offsets_[Below(offsets_.size())]);
    const uint64_t moved = other + 32 * Below(3);
    std::memcpy(file.data() + offsets_[Below(offsets_.size())], &moved, sizeof(moved));
    return file;
  }
  File Splice() {
    File file = file_;
    const auto begin = static_cast<std::ptrdiff_t>(Below(head_));
    const auto size = static_cast<std::ptrdiff_t>(1 + Below(64));
    if (Below(2) == 0) {
      file.erase(file.begin() + begin, file.begin() + begin + size);
    } else {
      const File copy(file.begin() + begin, file.begin() + begin + size);
      file.insert(file.begin() + begin, copy.begin(), copy.end());
    }
    return file;
  }
  File Scribble() {
    File file = file_;
    const size_t begin = Below(head_ - 16);
    for (size_t i = 0; i < 16; ++i) file[begin + i] = static_cast<std::byte>(Below(256));
    return file;
  }

  const File& file_;
  Rng rng_;
  std::vector<Field> fields_, numbers_;
  std::vector<size_t> offsets_;
  size_t head_ = 0;
};

// Uses everything that a file offers. "" when it is sound, else the reason of the refusal.
std::string Use(const File& file) {
  const auto gguf = Gguf::Parse(file);
  if (!gguf) return gguf.error().message;
  for (const GgufTensor& tensor : gguf->tensors()) {
    EXPECT_LE(tensor.offset, file.size());
    EXPECT_LE(tensor.bytes, file.size() - tensor.offset);
  }
  const auto tokenizer = Tokenizer::Load(*gguf);
  if (tokenizer) {
    const std::vector<TokenId> ids = (*tokenizer)->Encode("Once upon a time \xff<s>", true);
    EXPECT_LT((*tokenizer)->Decode(ids, true).size(), 1u << 20);
  }
  const auto config = ReadConfig(*gguf);
  if (!config) return config.error().message;
  const auto tensors = FindTensors(*gguf, *config);
  if (!tensors) return tensors.error().message;
  return tokenizer ? "" : tokenizer.error().message;
}

TEST(DamagedGgufTest, EveryDamagedFileIsRefusedOrSound) {
  const std::string name = "data/models/stories260K/gguf/stories260K-q8_0.gguf";
  EXO_NEED_SHARED(name);
  const std::string bytes = testing::ReadAll(testing::SharedPath(name));
  const File sound(reinterpret_cast<const std::byte*>(bytes.data()),
                   reinterpret_cast<const std::byte*>(bytes.data()) + bytes.size());
  ASSERT_EQ(Use(sound), "");
  Damage damage(sound, 260);
  size_t refused = 0;
  std::set<std::string> reasons;
  double slowest = 0;  // seconds
  for (size_t i = 0; i < kCases; ++i) {
    const File file = damage.Make(i);
    std::string reason;
    const double took = testing::ProcessorSeconds([&] { reason = Use(file); }, 1);
    slowest = std::max(slowest, took);
    EXPECT_LT(took, 1) << "case " << i;
    if (reason.empty()) continue;
    ++refused;
    reasons.insert(reason.substr(0, 12));
    EXPECT_GT(reason.size(), 10u) << "case " << i;
  }
  EXPECT_GT(refused, kCases / 2);
  EXPECT_GT(reasons.size(), 15u);  // the damage reaches many different checks
  std::printf("%zu of %zu refused, slowest %.1f ms\n", refused, kCases, slowest * 1e3);
}

}  // namespace
}  // namespace exo::model
