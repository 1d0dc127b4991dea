#include "service/http/content_coding.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/check.h"
#include "service/http/ascii.h"

namespace exo::service {
namespace {

constexpr size_t kPiece = 64 << 10;
// RFC 9659 lets no sender of the coding "zstd" need a larger window.
constexpr int kZstdWindowLog = 23;
constexpr int kZlibWindowBits = 15;
constexpr int kGzip = 16;  // added to the window's bits: zlib reads gzip's header

const char* NameOf(Coding coding) {
  constexpr const char* kNames[] = {"identity", "gzip", "deflate", "zstd"};
  return kNames[static_cast<size_t>(coding)];
}

std::unexpected<ApiError> Damaged(Coding coding, std::string_view why) {
  return std::unexpected(
      ApiError{400,
               fmt::format("the body is not what Content-Encoding: {} says: {}; send it again, or "
                           "plain",
                           NameOf(coding), why),
               "", "invalid_encoding"});
}

std::unexpected<ApiError> Unsupported(std::string_view what) {
  return std::unexpected(ApiError{
      415,
      fmt::format("the body's content encoding {}; a body may be compressed once, with one of {}",
                  what, kCodings),
      "", "unsupported_content_encoding"});
}

// What has been decoded, within a limit and a lease.
class Decoded {
 public:
  Decoded(size_t limit, size_t compressed, BodyLease& lease)
      : limit_(limit), compressed_(compressed), lease_(lease) {}

  Parsed<> Append(std::string_view piece) {
    const size_t size = text_.size() + piece.size();
    if (size > limit_) {
      return std::unexpected(
          ApiError{413, fmt::format("the body is larger than {} bytes once decompressed", limit_),
                   "", "request_too_large"});
    }
    if (!lease_.GrowTo(compressed_ + size)) {
      return std::unexpected(
          ApiError{503, "the bodies of all requests together have no more memory; try again", "",
                   "overloaded"});
    }
    // The string alone would take twice its size, beyond the limit too.
    if (size > text_.capacity()) text_.reserve(std::min(limit_, 2 * size));
    text_ += piece;
    return {};
  }
  std::string Take() { return std::move(text_); }

 private:
  const size_t limit_, compressed_;
  BodyLease& lease_;
  std::string text_;
};

struct EndZlib {
  void operator()(z_stream* stream) const {
    inflateEnd(stream);
    delete stream;
  }
};
struct FreeZstd {
  void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
};

// The two bytes with which RFC 1950 begins; a body without them is deflate's data alone.
bool HasZlibHeader(std::string_view body) {
  if (body.size() < 2) return false;
  const auto first = static_cast<uint8_t>(body[0]), second = static_cast<uint8_t>(body[1]);
  return (first & 0x0F) == Z_DEFLATED && (first * 256 + second) % 31 == 0;
}

int WindowBits(Coding coding, std::string_view body) {
  if (coding == Coding::kGzip) return kZlibWindowBits + kGzip;
  return HasZlibHeader(body) ? kZlibWindowBits : -kZlibWindowBits;
}

// A gzip body may have several members, one behind the other (RFC 1952, 2.2).
Parsed<> Inflate(Coding coding, std::string_view body, Decoded& out) {
  const std::unique_ptr<z_stream, EndZlib> stream(new z_stream{});
  CHECK(inflateInit2(stream.get(), WindowBits(coding, body)) == Z_OK);
  std::array<char, kPiece> piece;
  // zlib does not write through it, but says so only where ZLIB_CONST is defined.
  stream->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
  stream->avail_in = static_cast<uInt>(body.size());
  for (;;) {
    stream->next_out = reinterpret_cast<Bytef*>(piece.data());
    stream->avail_out = kPiece;
    const int status = inflate(stream.get(), Z_NO_FLUSH);
    if (status == Z_BUF_ERROR) return Damaged(coding, "it ends too early");
    if (status != Z_OK && status != Z_STREAM_END)
      return Damaged(coding, stream->msg != nullptr ? stream->msg : "it cannot be read");
    TRY(out.Append({piece.data(), kPiece - stream->avail_out}));
    if (status != Z_STREAM_END) continue;
    if (stream->avail_in == 0) return {};
    if (coding == Coding::kDeflate) return Damaged(coding, "something follows its end");
    CHECK(inflateReset(stream.get()) == Z_OK);
  }
}

// Frames may follow each other (RFC 8878, 3).
Parsed<> DecodeZstd(std::string_view body, Decoded& out) {
  const std::unique_ptr<ZSTD_DStream, FreeZstd> stream(ZSTD_createDStream());
  CHECK(stream != nullptr);
  CHECK(ZSTD_isError(ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, kZstdWindowLog)) ==
        0);
  std::array<char, kPiece> piece;
  ZSTD_inBuffer in{.src = body.data(), .size = body.size(), .pos = 0};
  for (;;) {
    ZSTD_outBuffer to{.dst = piece.data(), .size = kPiece, .pos = 0};
    const size_t before = in.pos;
    const size_t more = ZSTD_decompressStream(stream.get(), &to, &in);
    if (ZSTD_getErrorCode(more) == ZSTD_error_frameParameter_windowTooLarge)
      return Damaged(Coding::kZstd, "its window is larger than 8 MiB (RFC 9659)");
    if (ZSTD_isError(more) != 0) return Damaged(Coding::kZstd, ZSTD_getErrorName(more));
    TRY(out.Append({piece.data(), to.pos}));
    if (in.pos == in.size && more == 0) return {};
    if (in.pos == before && to.pos == 0) return Damaged(Coding::kZstd, "it ends too early");
  }
}

// Several fields are one list (RFC 9110, 5.3).
std::vector<std::string> NamesIn(const std::vector<std::string>& fields) {
  std::vector<std::string> names;
  for (std::string_view rest : fields) {
    for (;;) {
      const size_t comma = rest.find(',');
      names.push_back(Lower(Trimmed(rest.substr(0, comma))));
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return names;
}

}  // namespace

Parsed<Coding> CodingOf(const std::vector<std::string>& fields) {
  struct Named {
    std::string_view name;
    Coding coding;
  };
  constexpr Named kNamed[] = {{"", Coding::kIdentity},       {"identity", Coding::kIdentity},
                              {"gzip", Coding::kGzip},       {"x-gzip", Coding::kGzip},
                              {"deflate", Coding::kDeflate}, {"zstd", Coding::kZstd}};
  Coding coding = Coding::kIdentity;
  std::vector<std::string> applied;  // as the request names them
  for (const std::string& name : NamesIn(fields)) {
    const auto* known = std::ranges::find(kNamed, name, &Named::name);
    if (known == std::end(kNamed)) return Unsupported(fmt::format("is '{}'", name.substr(0, 64)));
    if (known->coding == Coding::kIdentity) continue;
    coding = known->coding;
    applied.push_back(name);
  }
  if (applied.size() <= 1) return coding;
  return Unsupported(
      fmt::format("names {} codings, the first two '{}' and '{}', in one header field or several",
                  applied.size(), applied[0], applied[1]));
}

Parsed<std::string> Decode(Coding coding, std::string_view body, size_t limit, BodyLease& lease) {
  Decoded out(limit, body.size(), lease);
  if (coding == Coding::kIdentity) {
    TRY(out.Append(body));
  } else if (coding == Coding::kZstd) {
    TRY(DecodeZstd(body, out));
  } else {
    TRY(Inflate(coding, body, out));
  }
  return out.Take();
}

}  // namespace exo::service
