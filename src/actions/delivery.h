// How a message leaves the machine, or reaches a program on it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/status.h"

#include "message.h"

namespace wheeltapper::actions {

// Unavailable and DeadlineExceeded may work later and are tried again; any other error is final.
struct Delivered {
  Status status;
  // What the receiver wrote, at most the last few KiB, as UTF-8; "" where it was not reached.
  std::string output = {};
};

// Called from the sending thread only.
class Delivery {
 public:
  Delivery() = default;
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;
  virtual ~Delivery() = default;
  virtual Delivered Deliver(const Message& message) = 0;
};

struct WebhookOptions {
  std::string url;
  std::string secret = {};  // HMAC key; "" = unsigned
  bool allow_private = false;
  TimeNs timeout_ns = 10'000'000'000;
};
// POSTs the body as application/json. With a secret the headers X-Wheeltapper-Timestamp (seconds)
// and X-Wheeltapper-Signature: sha256=<hex of HMAC-SHA256(secret, timestamp "." body)> let the
// receiver check origin and age. InvalidArgument when the URL is not http(s) or holds credentials.
// 2xx is success; 408, 429, 5xx and network errors are retryable; redirects are not followed.
Result<std::unique_ptr<Delivery>> MakeWebhookDelivery(const WebhookOptions& options,
                                                      const Clock& clock);

struct CommandOptions {
  std::vector<std::string> argv;
  TimeNs timeout_ns = 60'000'000'000;
};
// Starts the command with the body on its standard input; the end of its output is kept. Exit code
// 75 (EX_TEMPFAIL) and a time-out are retryable, another non-zero code is final. An error tells the
// last line that the command wrote.
std::unique_ptr<Delivery> MakeCommandDelivery(const CommandOptions& options, const Clock& clock);

// Hex of HMAC-SHA256 (RFC 2104 with FIPS 180-4's SHA-256).
std::string HmacSha256Hex(const std::string& key, const std::string& text);

}  // namespace wheeltapper::actions
