package logging

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"unicode/utf8"
)

// valueBytes is the longest value of an attribute: enough for an error, too little to carry a tenant's data away.
const valueBytes = 1024

const redacted = "[redacted]"

// secretNames are attributes whose values never appear, because they hold credentials or data of tenants.
var secretNames = map[string]bool{
	"authorization": true, "body": true, "command": true, "cookie": true, "credentials": true, "jwt": true,
	"message_body": true, "password": true, "payload": true, "receipt_handle": true, "secret": true, "text": true,
	"token": true,
}

// secretEndings are ends of such names.
var secretEndings = []string{"_body", "_password", "_secret", "_token", "_key_id", "_access_key", "authorization"}

// secretTexts are credentials that stand inside other texts, such as errors: bearer tokens, JSON Web Tokens, the
// secret parameters of a signed URL, and access keys' ids.
var secretTexts = regexp.MustCompile(`(?i)\b(bearer\s+)[^\s"',;]+` +
	`|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?` +
	`|\b(X-Amz-(?:Signature|Security-Token|Credential)=)[^&\s"']+` +
	`|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`)

// secretURLs are the parts of a URL that may hold passwords and keys: the user information and the query.
var secretURLs = regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)(?:[^\s/?#"'<>]*@)?([^\s?#"'<>@]*)(\?[^\s"'<>]*)?`)

// queryValues are the values of a query, which may be keys whatever their names are. Names are shown, and values that are too
// short to be a secret.
var queryValues = regexp.MustCompile(`([?&][^=&\s]*=)[^&\s]{4,}|([?&])[^=&\s]{4,}`)

// resourceNames are ARNs, which name accounts and roles.
var resourceNames = regexp.MustCompile(`\barn:aws[a-z-]*:[a-z0-9-]*:[a-z0-9-]*:[0-9]*:[^\s"',;)]+`)

// publicBytes is the longest text of Public.
const publicBytes = 400

// redact is slog's ReplaceAttr: it keeps secrets and tenants' data out of a line.
func redact(_ []string, a slog.Attr) slog.Attr {
	name := strings.ToLower(a.Key)
	secret := secretNames[name]
	for _, end := range secretEndings {
		secret = secret || strings.HasSuffix(name, end)
	}
	if secret {
		return slog.String(a.Key, redacted)
	}
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindGroup: // slog itself hands the members over one by one; Recent doesn't
		members := make([]slog.Attr, 0, len(v.Group()))
		for _, member := range v.Group() {
			members = append(members, redact(nil, member))
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(members...)}
	case slog.KindString:
		return slog.String(a.Key, clean(v.String()))
	case slog.KindAny:
		switch held := v.Any().(type) {
		case error:
			return slog.String(a.Key, clean(held.Error()))
		case []byte:
			return slog.String(a.Key, fmt.Sprintf("[%d bytes]", len(held)))
		case fmt.Stringer:
			return slog.String(a.Key, clean(held.String()))
		default:
			return slog.String(a.Key, clean(fmt.Sprint(held)))
		}
	}
	return a
}

// clean removes credentials from a text and cuts it short.
func clean(text string) string { return cut(withoutSecrets(text), valueBytes) }

// Public returns a text for a page without authentication. It has no credentials, as in the log, and no ARNs, and is cut short.
func Public(text string) string {
	return cut(resourceNames.ReplaceAllString(withoutSecrets(text), "[arn]"), publicBytes)
}

func withoutSecrets(text string) string {
	text = secretTexts.ReplaceAllString(text, "${1}${2}"+redacted)
	if !strings.Contains(text, "://") {
		return text
	}
	return secretURLs.ReplaceAllStringFunc(text, func(url string) string {
		part := secretURLs.FindStringSubmatch(url)
		return part[1] + part[2] + queryValues.ReplaceAllString(part[3], "${1}${2}"+redacted)
	})
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	at := most
	for !utf8.RuneStart(text[at]) {
		at--
	}
	return fmt.Sprintf("%s… (%d bytes more)", text[:at], len(text)-at)
}
