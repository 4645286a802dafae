package query

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"tributary/internal/query/auth"
)

const (
	// tenantTag is the session tag that the role's policy compares with dynamodb:LeadingKeys.
	tenantTag = "tenant_id"
	// sessionDuration is how long one tenant's credentials are good for. A role that is assumed from another role,
	// as it is from a pod or a task, allows no more ("AssumeRole").
	sessionDuration = time.Hour
	// sessionEarly is how long before their end credentials are made anew, so that none ends in the middle of a read.
	sessionEarly = time.Minute
)

// roleCredentials has, for every tenant, credentials that IAM restricts to that tenant's partition.
type roleCredentials struct {
	sts  stscreds.AssumeRoleAPIClient
	role string

	mu      sync.Mutex // guards tenants
	tenants *lru[string, aws.CredentialsProvider]
}

func newRoleCredentials(client stscreds.AssumeRoleAPIClient, role string, tenants int) *roleCredentials {
	return &roleCredentials{sts: client, role: role, tenants: newLRU[string, aws.CredentialsProvider](tenants)}
}

// option makes a call with the tenant's credentials, which are assumed when a call needs them and kept for an hour.
func (c *roleCredentials) option(tenant auth.Tenant) func(*dynamodb.Options) {
	c.mu.Lock()
	defer c.mu.Unlock()
	provider := c.tenants.get(tenant.ID(), func() aws.CredentialsProvider {
		assume := stscreds.NewAssumeRoleProvider(c.sts, c.role, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = sessionName(tenant)
			o.Duration = sessionDuration
			o.Tags = []types.Tag{{Key: aws.String(tenantTag), Value: aws.String(tenant.ID())}}
		})
		return aws.NewCredentialsCache(assume, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = sessionEarly })
	})
	return func(o *dynamodb.Options) { o.Credentials = provider }
}

// sessionName names a tenant's sessions. A tenant id itself may be too long for it, or hold a colon.
func sessionName(tenant auth.Tenant) string {
	digest := sha256.Sum256([]byte(tenant.ID()))
	return "tributary-" + hex.EncodeToString(digest[:8])
}
