/* The byte tokenizer in Hugging Face's words: a byte-level BPE without merges, whose 256 symbols
 * have the byte values as ids. Byte-level BPE (Radford et al. 2019) writes each byte as a visible
 * character: printable Latin-1 bytes as themselves, the 68 others as U+0100 onwards in order. */
#include "model/tokenizer_internal.h"

/* "x": id — the character escaped as JSON \u where it is not ASCII, so that the file is ASCII. */
static enum emac_status symbol_write(struct emac_buf *out, unsigned byte, unsigned code,
                                     struct emac_err *err)
{
    const char *end = byte == 255 ? "\n" : ",\n";

    if (code >= 0x80)
        return emac_buf_printf(out, err, "      \"\\u%04x\": %u%s", code, byte, end);
    return emac_buf_printf(out, err, "      \"%s%c\": %u%s",
                           code == '"' || code == '\\' ? "\\" : "", (int)code, byte, end);
}

enum emac_status byte_tokenizer_json(struct emac_buf *out, struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, emac_buf_printf(out, err,
                                 "{\n"
                                 "  \"version\": \"1.0\",\n"
                                 "  \"truncation\": null,\n"
                                 "  \"padding\": null,\n"
                                 "  \"added_tokens\": [],\n"
                                 "  \"normalizer\": null,\n"
                                 "  \"pre_tokenizer\": {\n"
                                 "    \"type\": \"ByteLevel\",\n"
                                 "    \"add_prefix_space\": false,\n"
                                 "    \"trim_offsets\": false,\n"
                                 "    \"use_regex\": false\n"
                                 "  },\n"
                                 "  \"post_processor\": null,\n"
                                 "  \"decoder\": {\n"
                                 "    \"type\": \"ByteLevel\",\n"
                                 "    \"add_prefix_space\": false,\n"
                                 "    \"trim_offsets\": false,\n"
                                 "    \"use_regex\": false\n"
                                 "  },\n"
                                 "  \"model\": {\n"
                                 "    \"type\": \"BPE\",\n"
                                 "    \"dropout\": null,\n"
                                 "    \"unk_token\": null,\n"
                                 "    \"continuing_subword_prefix\": null,\n"
                                 "    \"end_of_word_suffix\": null,\n"
                                 "    \"fuse_unk\": false,\n"
                                 "    \"byte_fallback\": false,\n"
                                 "    \"ignore_merges\": false,\n"
                                 "    \"vocab\": {\n"));
    for (unsigned byte = 0; byte < 256; byte++)
        EMAC_TRY(st, symbol_write(out, byte, tok_visible((uint8_t)byte), err));
    st = emac_buf_printf(out, err, "    },\n    \"merges\": []\n  }\n}\n");
out:
    return st;
}

enum emac_status byte_tokenizer_config_json(struct emac_buf *out, uint32_t max_positions,
                                            struct emac_err *err)
{
    return emac_buf_printf(out, err,
                           "{\n"
                           "  \"add_prefix_space\": false,\n"
                           "  \"added_tokens_decoder\": {},\n"
                           "  \"clean_up_tokenization_spaces\": false,\n"
                           "  \"model_max_length\": %u,\n"
                           "  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n"
                           "}\n",
                           max_positions);
}

enum emac_status byte_tokenizer_special_json(struct emac_buf *out, struct emac_err *err)
{
    return emac_buf_printf(out, err, "{}\n");
}

enum emac_status generation_config_json(struct emac_buf *out, struct emac_err *err)
{
    return emac_buf_printf(out, err,
                           "{\n"
                           "  \"bos_token_id\": null,\n"
                           "  \"eos_token_id\": null,\n"
                           "  \"pad_token_id\": null\n"
                           "}\n");
}
