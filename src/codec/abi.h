/* The ABI of Solidity contracts: calls, return values and events' data as
 * 32-byte words (docs.soliditylang.org, "Contract ABI Specification"), for the
 * types that EMAC's contracts use. A value has one encoding: the reader refuses
 * dirty padding, offsets that leave holes or overlap, bytes left over.
 *
 * Types by letter, with what the writer takes and the reader fills:
 *   u  uint256    const struct u256 *       struct u256 *
 *   n  uint64     uint64_t (cast literals)  uint64_t *
 *   a  address    const uint8_t[20]         uint8_t[20]
 *   b  bytes32    const uint8_t[32]         uint8_t[32]
 *   o  bool       int                       bool *
 *   B  bytes, string   const void *, size_t     struct emac_slice * (borrowed)
 *   A  bytes32[]  const uint8_t *, size_t   struct emac_slice * (borrowed; 32 bytes an item)
 */
#ifndef EMAC_CODEC_ABI_H
#define EMAC_CODEC_ABI_H

#include "base/buf.h"
#include "base/u256.h"
#include "crypto/evm.h"

#define ABI_WORD           32
#define ABI_VALUES_MAX     16
#define ABI_SELECTOR_BYTES 4

/* Appends the values; nothing is kept of a failure (TOO_LARGE, NO_MEMORY). */
enum emac_status abi_encode(struct emac_buf *out, struct emac_err *err, const char *types, ...);
/* A call: the first 4 bytes of keccak256("transfer(address,uint256)"), then the values. */
enum emac_status abi_encode_call(struct emac_buf *out, struct emac_err *err, const char *signature,
                                 const char *types, ...);
/* Exactly these values; CORRUPT. */
enum emac_status abi_decode(struct emac_slice in, struct emac_err *err, const char *types, ...);
/* keccak256 of an event's signature: the first topic of its logs. */
void abi_topic(uint8_t out[KECCAK256_BYTES], const char *signature);

#endif
