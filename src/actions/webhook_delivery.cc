#include <array>
#include <memory>
#include <utility>

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "address_guard.h"
#include "delivery.h"

namespace wheeltapper::actions {
namespace {

constexpr TimeNs kMillisecond = 1'000'000;
constexpr TimeNs kSecond = 1'000'000'000;

// curl_global_init is not thread-safe before 7.84 and idempotent: once, before the first handle.
void InitialiseCurl() {
  static const CURLcode kCode = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)kCode;
}

struct CurlDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string UrlPart(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) {
    return "";
  }
  std::string copy = text;
  curl_free(text);
  return copy;
}

Status CheckUrl(const std::string& url) {
  const std::unique_ptr<CURLU, UrlDeleter> parsed(curl_url());
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    return InvalidArgumentError("it is no URL");
  }
  const std::string scheme = UrlPart(parsed.get(), CURLUPART_SCHEME);
  if (scheme != "https" && scheme != "http") {
    return InvalidArgumentError("it must begin with https:// or http://, not " + scheme + "://");
  }
  if (!UrlPart(parsed.get(), CURLUPART_USER).empty() ||
      !UrlPart(parsed.get(), CURLUPART_PASSWORD).empty()) {
    return InvalidArgumentError(
        "actions.webhook.url must hold no user name or password; use actions.webhook.secret_env to "
        "sign messages");
  }
  return {};
}

struct AddressGuard {
  bool allow_private = false;
  bool refused = false;  // an address that was resolved
};

// Opens the socket only when the address that was resolved may be reached.
curl_socket_t OpenGuarded(void* guard_of, curlsocktype /*purpose*/, curl_sockaddr* address) {
  auto* guard = static_cast<AddressGuard*>(guard_of);
  if (!guard->allow_private && !IsPublicAddress(&address->addr)) {
    guard->refused = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

size_t DropBody(char* /*data*/, size_t size, size_t count, void* /*user*/) { return size * count; }

class WebhookDelivery final : public Delivery {
 public:
  WebhookDelivery(WebhookOptions options, const Clock& clock)
      : options_(std::move(options)), clock_(clock) {}

  Delivered Deliver(const Message& message) override { return {.status = Post(message)}; }

 private:
  [[nodiscard]] Status Post(const Message& message) const {
    InitialiseCurl();
    const std::unique_ptr<CURL, CurlDeleter> handle(curl_easy_init());
    if (!handle) {
      return ResourceExhaustedError("posting the webhook: no curl handle");
    }
    const std::unique_ptr<curl_slist, ListDeleter> headers = Headers(message);
    AddressGuard guard{.allow_private = options_.allow_private};
    SetUp(handle.get(), headers.get(), message, &guard);
    return Judge(curl_easy_perform(handle.get()), handle.get(), guard);
  }

  [[nodiscard]] std::unique_ptr<curl_slist, ListDeleter> Headers(const Message& message) const {
    const std::string timestamp = std::to_string(clock_.WallNs() / kSecond);
    curl_slist* list = curl_slist_append(nullptr, "Content-Type: application/json");
    list = curl_slist_append(list, ("X-Wheeltapper-Event: " + message.event).c_str());
    list = curl_slist_append(list, ("X-Wheeltapper-Timestamp: " + timestamp).c_str());
    if (!options_.secret.empty()) {
      const std::string signature = HmacSha256Hex(options_.secret, timestamp + "." + message.body);
      list = curl_slist_append(list, ("X-Wheeltapper-Signature: sha256=" + signature).c_str());
    }
    return std::unique_ptr<curl_slist, ListDeleter>(list);
  }

  void SetUp(CURL* handle, curl_slist* headers, const Message& message, AddressGuard* guard) const {
    curl_easy_setopt(handle, CURLOPT_URL, options_.url.c_str());
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(handle, CURLOPT_PROXY,
                     "");  // a proxy would connect on our behalf, past the guard
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, options_.timeout_ns / kMillisecond);
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, message.body.c_str());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(message.body.size()));
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, OpenGuarded);
    curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, guard);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, DropBody);
  }

  // What is refused is kept like what did not arrive: the setting may be mended before the next
  // run.
  static Status Judge(CURLcode code, CURL* handle, const AddressGuard& guard) {
    if (code != CURLE_OK && guard.refused) {
      return UnavailableError(
          "posting the webhook: refused: its address is one of this machine or of a private "
          "network; "
          "actions.webhook.allow_private = true permits it");
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
      return DeadlineExceededError("posting the webhook: no answer in time");
    }
    if (code != CURLE_OK) {
      return UnavailableError(std::string("posting the webhook: ") + curl_easy_strerror(code));
    }
    long http_status = 0;  // NOLINT(google-runtime-int): curl's type
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &http_status);
    const std::string text = "posting the webhook: HTTP status " + std::to_string(http_status);
    if (http_status >= 200 && http_status < 300) {
      return {};
    }
    if (http_status == 408 || http_status == 429 || http_status >= 500) {
      return UnavailableError(text);
    }
    return FailedPreconditionError(text);
  }

  WebhookOptions options_;
  const Clock& clock_;
};

}  // namespace

std::string HmacSha256Hex(const std::string& key, const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &length);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (unsigned i = 0; i < length; ++i) {
    hex += kDigits[digest.at(i) >> 4];
    hex += kDigits[digest.at(i) & 15];
  }
  return hex;
}

Result<std::unique_ptr<Delivery>> MakeWebhookDelivery(const WebhookOptions& options,
                                                      const Clock& clock) {
  WT_RETURN_IF_ERROR(CheckUrl(options.url));
  return std::unique_ptr<Delivery>(std::make_unique<WebhookDelivery>(options, clock));
}

}  // namespace wheeltapper::actions
