/* TensorBoard's event files: numbers over steps, written only.
 *
 * A file is a row of TFRecords: u64 LE length, masked CRC of those 8 bytes, the
 * data, masked CRC of the data; the CRC is CRC-32C (Castagnoli, RFC 3720
 * appendix B.4), masked as ((crc >> 15) | (crc << 17)) + 0xa282ead8. Each record
 * is a protobuf `Event`: {1: double wall_time, 2: int64 step, 3: string
 * file_version | 5: Summary{1: Value{1: string tag, 2: float simple_value}} | 7: SessionLog{1:
 * status}}.
 * The first says file_version "brain.Event:2". TensorBoard shows each folder as
 * a run and reads the files in it whose names hold "tfevents", in the order of
 * their names. Equal events give equal bytes. */
#ifndef EMAC_CODEC_TFEVENTS_H
#define EMAC_CODEC_TFEVENTS_H

#include "base/buf.h"

#define TFEVENTS_NAME_MAX 160
#define TFEVENTS_TAG_MAX  64

/* Name of a file whose first event is of this time: "events.out.tfevents.1700000000.WHO". */
void tfevents_name(char out[TFEVENTS_NAME_MAX], uint64_t wall_ms, const char *who);
/* Append the record that a file begins with. */
enum emac_status tfevents_begin(struct emac_buf *out, uint64_t wall_ms, struct emac_err *err);
/* Append what makes readers forget the events of steps from `step` on that came before (a
 * SessionLog of status START). */
enum emac_status tfevents_restart(struct emac_buf *out, uint64_t wall_ms, uint64_t step,
                                  struct emac_err *err);
/* Append one number; the tag is cut to TFEVENTS_TAG_MAX bytes. */
enum emac_status tfevents_scalar(struct emac_buf *out, uint64_t wall_ms, uint64_t step,
                                 const char *tag, float value, struct emac_err *err);

uint32_t tfevents_crc32c(const void *data, size_t n);

#endif
