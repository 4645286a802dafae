package awsjson

import (
	"net/http"
	"time"
)

// now is the time by AWS's clock, as far as it is known.
func (c *client) now() time.Time { return time.Now().Add(time.Duration(c.skew.Load())) }

// maxSkew is how far a signature's time may be from AWS's clock. AWS accepts five minutes ("Troubleshooting signed requests for
// AWS APIs").
const maxSkew = 4 * time.Minute

// adjustClock follows AWS's clock after a signature was refused for its time: the local clock may be wrong, or it may have been
// corrected since it was last followed.
func (c *client) adjustClock(code, date string) {
	switch code {
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture", "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure":
		if at, err := http.ParseTime(date); err == nil {
			if skew := time.Until(at); (skew - time.Duration(c.skew.Load())).Abs() > maxSkew {
				c.skew.Store(int64(skew))
			}
		}
	}
}
