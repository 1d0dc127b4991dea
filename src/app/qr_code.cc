#include "app/qr_code.h"

#include <qrencode.h>

#include <memory>

namespace exo::app {
namespace {

constexpr int kQuietZone = 4;  // ISO/IEC 18004

struct FreeCode {
  void operator()(QRcode* code) const { QRcode_free(code); }
};

}  // namespace

Result<std::string> QrCodeText(const std::string& text) {
  const std::unique_ptr<QRcode, FreeCode> code(
      QRcode_encodeString(text.c_str(), 0, QR_ECLEVEL_L, QR_MODE_8, 1));
  if (code == nullptr)
    return Fail(ErrorCode::kInvalid, "{} characters are too many for a QR code", text.size());
  const auto is_light = [&](int row, int column) {
    const int width = code->width;
    if (row < 0 || column < 0 || row >= width || column >= width) return true;
    return (code->data[row * width + column] & 1) == 0;
  };
  std::string drawn;
  for (int row = -kQuietZone; row < code->width + kQuietZone; row += 2) {
    // White on black whatever the terminal's colors are.
    drawn += "\033[37;40m";
    for (int column = -kQuietZone; column < code->width + kQuietZone; ++column) {
      const bool upper = is_light(row, column), lower = is_light(row + 1, column);
      drawn += upper ? (lower ? "█" : "▀") : (lower ? "▄" : " ");
    }
    drawn += "\033[0m\n";
  }
  return drawn;
}

}  // namespace exo::app
