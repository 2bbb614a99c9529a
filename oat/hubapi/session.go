package hubapi

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// SessionTTL is how long the JWT of someone who signed in is good.
const SessionTTL = 10 * time.Minute

// maxBearer is the length of a JWT beyond which nobody looks at it.
const maxBearer = 8 << 10

// audience keeps JWTs that the host signs with the same key for other purposes out.
const audience = "oatmill/hubapi"

// claims is what the JWT of someone who signed in says.
type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Expires  *int64 `json:"exp"`
	ID       string `json:"jti"`
}

var errSession = errors.New("not the JWT of someone who signed in")

// mint is a JWT for a user.
func (h *Handler) mint(user string, now time.Time) (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(h.cfg.Rand, id[:]); err != nil {
		return "", fmt.Errorf("id of a JWT: %w", err)
	}
	expires := now.Add(SessionTTL).Unix()
	payload, err := json.Marshal(claims{
		Issuer: h.cfg.Issuer, Subject: user, Audience: audience,
		IssuedAt: now.Unix(), Expires: &expires, ID: hex.EncodeToString(id[:]),
	})
	if err != nil {
		return "", err
	}
	signed, err := h.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign a JWT: %w", err)
	}
	return signed.CompactSerialize()
}

// session is the user whose JWT the request carries, "" when it carries nothing.
func (h *Handler) session(r *http.Request, now time.Time) (user string, err error) {
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		return "", nil
	}
	scheme, token, ok := strings.Cut(given[0], " ")
	// Docker Hub's older clients send "JWT" as the scheme.
	bearer := strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "JWT")
	if len(given) > 1 || !ok || !bearer || len(token) > maxBearer {
		return "", errSession
	}
	payload, err := h.verified(token)
	if err != nil {
		return "", err
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return "", errSession
	}
	if c.Issuer != h.cfg.Issuer || c.Audience != audience || c.Subject == "" || !c.valid(now) {
		return "", errSession
	}
	return c.Subject, nil
}

// leeway is how far the clocks of processes that share a key may be apart.
const leeway = time.Minute

// valid reports whether the session has begun, has not ended and lasts no longer than
// [SessionTTL]. A session that was signed while a clock was ahead ends with the correction
// of that clock. The expiry is compared to the second and without leeway.
func (c *claims) valid(now time.Time) bool {
	return c.Expires != nil && now.Unix() < *c.Expires &&
		c.IssuedAt <= now.Add(leeway).Unix() && *c.Expires <= c.IssuedAt+int64((SessionTTL+leeway)/time.Second)
}

// verified is the payload of a compact JWS that one of the keys signed. Of the JWS only
// the name of its algorithm is looked at before, and only to find the keys that are for
// it; keys that it carries or points to are not.
func (h *Handler) verified(token string) ([]byte, error) {
	parsed, err := jose.ParseSignedCompact(token, h.algorithms)
	if err != nil || len(parsed.Signatures) != 1 {
		return nil, errSession
	}
	algorithm := jose.SignatureAlgorithm(parsed.Signatures[0].Protected.Algorithm)
	for _, key := range h.cfg.Keys {
		if key.algorithm != algorithm {
			continue
		}
		if payload, err := parsed.Verify(key.public); err == nil {
			return payload, nil
		}
	}
	return nil, errSession
}

func algorithmsOf(keys []Key) (all []jose.SignatureAlgorithm) {
	for _, key := range keys {
		if !slices.Contains(all, key.algorithm) {
			all = append(all, key.algorithm)
		}
	}
	return all
}
