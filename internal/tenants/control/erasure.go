package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/table"
)

// Erasure is the record of an erasure. The zero value, but for Tenant, is that of a tenant that was never erased.
type Erasure struct {
	Tenant, ID string
	Step       string // the last one that was reached
	// Certificate is the certificate so far, as JSON.
	Certificate string
	// Expires is when DynamoDB may remove the record; the zero time: never.
	Expires time.Time

	saved int64 // how often; it guards the record against two who erase at once
}

// Erasure returns the record of a tenant's last erasure.
func (s *Store) Erasure(ctx context.Context, tenant string) (Erasure, error) {
	a, err := s.get(ctx, erasurePrefix+tenant)
	return Erasure{tenant, a.text("erasure"), a.text("step"), a.text("certificate"), a.expiry(), a.int("saved")}, err
}

// SaveErasure writes a record that was read with Erasure and changed. The error is ErrContended where somebody else has changed it
// since.
func (s *Store) SaveErasure(ctx context.Context, e *Erasure) error {
	a := newItem(erasurePrefix + e.Tenant)
	a.setText("tenant", e.Tenant)
	a.setText("erasure", e.ID)
	a.setText("step", e.Step)
	a.setText("certificate", e.Certificate)
	a.setExpiry(e.Expires)
	a.setInt("saved", e.saved+1)
	_, err := s.API.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.Table, Item: table.Attributes(a),
		ConditionExpression:       aws.String("attribute_not_exists(saved) OR saved = :saved"),
		ExpressionAttributeValues: table.Attributes{":saved": integer(e.saved)},
	})
	if _, lost := errors.AsType[*types.ConditionalCheckFailedException](err); lost {
		err = ErrContended
	}
	if err != nil {
		return fmt.Errorf("write record of erasure of tenant %s: %w", e.Tenant, err)
	}
	e.saved++
	return nil
}
